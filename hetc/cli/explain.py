"""`hetc explain`: why units are where they are."""

from __future__ import annotations

from pathlib import Path

import click

from hetc.cli.command import command
from hetc.cli.completion import units
from hetc.cli.output import print_json

__all__ = ["explain_command"]


@command("explain")
@click.argument("path", metavar="X", type=click.Path(path_type=Path))
@click.argument("asked", metavar="[UNIT]...", nargs=-1, shell_complete=units)
def explain_command(path: Path, asked: tuple[str, ...], as_json: bool) -> None:
    """Say why UNIT of X (a bundle, plan.json or model) runs where it does, and what would change that.

    A plan of neurons explains single ones, too: layers.3.experts.17.neurons.5. Several units, patterns such
    as 'layers.3.*', or none for all units give a table, a line for each. A model is placed as `hetc compile`
    does by default.
    """
    from hetc.cli.explanation import print_neuron, print_unit
    from hetc.cli.unit_table import choose_units, is_pattern, print_table, unit_to_dict
    from hetc.compiler.costs import open_plan
    from hetc.compiler.explanation import explain, find_unit
    from hetc.plan.targets import flip_fraction

    plan = open_plan(path)
    if len(asked) != 1 or (is_pattern(asked[0]) and asked[0] not in plan.by_id):
        chosen = choose_units(plan, asked, path)
        if as_json:
            print_json({"units": [unit_to_dict(each) for each in chosen]})
        else:
            print_table(chosen)
        return
    planned, neuron = find_unit(plan, asked[0], str(path))
    if as_json:
        print_json(explain(plan, asked[0]))
    elif neuron is not None:
        print_neuron(plan, planned, neuron)
    else:
        findings = [finding for finding in plan.findings if finding.layer == f"layers.{planned.layer}"]
        print_unit(plan, planned, flip_fraction(planned), findings)
