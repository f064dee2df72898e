"""`hetc explain`: why a unit is where it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from hetc.cli.output import json_option, print_json

__all__ = ["explain_command"]


@click.command("explain")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("unit")
@json_option
def explain_command(bundle: Path, unit: str, as_json: bool) -> None:
    """Say why UNIT of BUNDLE runs where it does, and at which fraction that would change."""
    from hetc.base.errors import UsageError
    from hetc.bundle.bundle import load_bundle
    from hetc.cli.summary import print_unit
    from hetc.plan.targets import flip_fraction

    plan = load_bundle(bundle).plan
    if unit not in plan.by_id:
        near = [known for known in plan.by_id if known.split(".")[:2] == unit.split(".")[:2]] or list(
            plan.by_id
        )
        raise UsageError(f"unit {unit!r} is not in {bundle}; near it are {', '.join(near[:4])}")
    planned = plan.by_id[unit]
    flip = flip_fraction(planned)
    findings = [finding for finding in plan.findings if finding.layer == f"layers.{planned.layer}"]
    if as_json:
        layer = [asdict(finding) for finding in findings]
        print_json(
            {**asdict(planned), "digital_from": None if flip is None else str(flip), "findings": layer}
        )
    else:
        print_unit(plan, planned, flip, findings)
