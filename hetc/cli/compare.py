"""`hetc compare`: what differs between two plans or files of scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hetc.cli.command import command
from hetc.cli.cost_options import cost_basis, cost_options
from hetc.cli.output import print_json

if TYPE_CHECKING:
    from hetc.costing.work import Accounting

__all__ = ["compare_command"]


@command("compare")
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@cost_options
def compare_command(
    first: Path,
    second: Path,
    costs: str | None,
    batch: int,
    context: int,
    accounting: Accounting,
    as_json: bool,
) -> None:
    """Say what differs between A and B: two plans, bundles or models, or two files of scores.

    Of plans: which units change sides, their ranks, shares, predicted loss and cost. Of scores: how far they
    rank alike, and which units they rank most differently.
    """
    from hetc.cli.comparison import print_plan_comparison, print_score_comparison
    from hetc.compiler.compare import PlanComparison, compare

    found = compare(first, second, basis=cost_basis(costs, batch, context, accounting))
    if as_json:
        print_json(found.to_dict())
    elif isinstance(found, PlanComparison):
        print_plan_comparison(found)
    else:
        print_score_comparison(found)
