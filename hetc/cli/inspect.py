"""`hetc inspect`: a model, plan or bundle at a glance."""

from __future__ import annotations

from pathlib import Path

import click

from hetc.cli.command import command
from hetc.cli.output import print_json

__all__ = ["inspect_command"]


@command("inspect")
@click.argument("path", metavar="X", type=click.Path(path_type=Path))
def inspect_command(path: Path, as_json: bool) -> None:
    """Show X: the units of a model, plan.json or bundle, or what a file of scores or a calibration says.

    A model may be on the Hugging Face hub, as hf://OWNER/NAME.
    """
    from hetc.cli.summary import print_plan, print_scores, print_units
    from hetc.compiler.inspection import inspect
    from hetc.plan.plan import Plan
    from hetc.plan.scores import Scores

    found = inspect(path)
    if as_json:
        print_json(found.to_dict())
    elif isinstance(found, Plan):
        print_plan(found)
    elif isinstance(found, Scores):
        print_scores(found)
    else:
        print_units(found.units, found.parameters, found.findings, found.arithmetic)
