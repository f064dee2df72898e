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
    from hetc.bundle import load_bundle
    from hetc.model_file import load_model
    from hetc.passes.find_units import find_units, model_parameters
    from hetc.plan import Plan
    from hetc.summary import print_plan, print_units, units_to_dict

    if path.is_dir() or path.suffix == ".json":
        plan = load_bundle(path).plan if path.is_dir() else Plan.load(path)
        if as_json:
            print_json(plan.to_dict())
        else:
            print_plan(plan)
        return
    model = load_model(path).model
    units, parameters = find_units(model), model_parameters(model)
    if as_json:
        print_json(units_to_dict(units, parameters))
    else:
        print_units(units, parameters)
