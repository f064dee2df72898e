"""`hetc explain`: why a unit is where it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from hetc.cli.output import json_option, print_json

__all__ = ["explain_command"]


@click.command("explain")
@click.argument("path", metavar="X", type=click.Path(path_type=Path))
@click.argument("unit")
@json_option
def explain_command(path: Path, unit: str, as_json: bool) -> None:
    """Say why UNIT of X (a bundle, plan.json or model) runs where it does, and what would change that.

    A plan of neurons explains single ones, too: layers.3.experts.17.neurons.5. A model is placed as
    `hetc compile` does by default.
    """
    from hetc.base.errors import UsageError
    from hetc.cli.explanation import neuron_to_dict, print_neuron, print_unit
    from hetc.compiler.costs import open_plan
    from hetc.plan.neurons import parse_neuron
    from hetc.plan.targets import flip_fraction

    plan = open_plan(path)
    asked = parse_neuron(unit)
    unit, neuron = asked if asked else (unit, None)
    if unit not in plan.by_id:
        near = [known for known in plan.by_id if known.split(".")[:2] == unit.split(".")[:2]] or list(
            plan.by_id
        )
        raise UsageError(f"unit {unit!r} is not in {path}; near it are {', '.join(near[:4])}")
    planned = plan.by_id[unit]
    if neuron is not None:
        if as_json:
            print_json(neuron_to_dict(plan, planned, neuron))
        else:
            print_neuron(plan, planned, neuron)
        return
    flip = flip_fraction(planned)
    findings = [finding for finding in plan.findings if finding.layer == f"layers.{planned.layer}"]
    if as_json:
        layer = [asdict(finding) for finding in findings]
        print_json(
            {**asdict(planned), "digital_from": None if flip is None else str(flip), "findings": layer}
        )
    else:
        print_unit(plan, planned, flip, findings)
