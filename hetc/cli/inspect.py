"""`hetc inspect`: a model, plan or bundle at a glance."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from hetc.cli.output import json_option, print_json

__all__ = ["inspect_command"]


@click.command("inspect")
@click.argument("path", metavar="X", type=click.Path(path_type=Path))
@json_option
def inspect_command(path: Path, as_json: bool) -> None:
    """Show X: the units of a model, plan.json or bundle, or what a file of scores or a calibration says."""
    from hetc.bundle.bundle import Bundle
    from hetc.cli.summary import print_plan, print_scores, print_units, units_to_dict
    from hetc.compiler.loading import open_placed
    from hetc.model.load import LoadedModel
    from hetc.passes.analysis.find_units import find_units, model_parameters
    from hetc.passes.analysis.outside_units import find_outside
    from hetc.plan.scores import load_scores
    from hetc.plan.units import Unit

    if path.suffix == ".safetensors" and path.is_file():
        scores = load_scores(path)
        if as_json:
            print_json(asdict(scores))
        else:
            print_scores(scores)
        return
    opened = open_placed(path, any_spelling=True)
    if not isinstance(opened, LoadedModel):
        plan = opened.plan if isinstance(opened, Bundle) else opened
        if as_json:
            print_json(plan.to_dict())
        else:
            print_plan(plan)
        return
    units: tuple[Unit, ...] = ()
    if not opened.findings or any(finding.raised for finding in opened.findings):
        units = find_units(opened.model)
    parameters = model_parameters(opened.model)
    findings = (*opened.findings, *find_outside(opened.model))
    if as_json:
        print_json(units_to_dict(units, parameters, findings))
    else:
        print_units(units, parameters, findings)
