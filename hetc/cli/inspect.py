"""`hetc inspect`: a model, plan or bundle at a glance."""

from __future__ import annotations

from pathlib import Path

import click

from hetc.cli.output import json_option, print_json

__all__ = ["inspect_command"]


@click.command("inspect")
@click.argument("path", metavar="X", type=click.Path(path_type=Path))
@json_option
def inspect_command(path: Path, as_json: bool) -> None:
    """Show the units of X (a model, plan.json or bundle), their parameters, and what isn't recognised."""
    from hetc.bundle.bundle import load_bundle
    from hetc.cli.summary import print_plan, print_units, units_to_dict
    from hetc.compiler.pipeline import load_moe_model
    from hetc.passes.analysis.find_units import find_units, model_parameters
    from hetc.plan.plan import Plan
    from hetc.plan.units import Unit

    if path.is_dir() or path.suffix == ".json":
        plan = load_bundle(path).plan if path.is_dir() else Plan.load(path)
        if as_json:
            print_json(plan.to_dict())
        else:
            print_plan(plan)
        return
    loaded = load_moe_model(path, allow_partial=True)
    units: tuple[Unit, ...] = ()
    if not loaded.findings or any(finding.raised for finding in loaded.findings):
        units = find_units(loaded.model)
    parameters = model_parameters(loaded.model)
    if as_json:
        print_json(units_to_dict(units, parameters, loaded.findings))
    else:
        print_units(units, parameters, loaded.findings)
