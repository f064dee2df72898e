"""`hetc cost`: tokens per second, watts and joules per token of a plan on a system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hetc.cli.command import command
from hetc.cli.cost_options import cost_options
from hetc.cli.output import print_json

if TYPE_CHECKING:
    from hetc.costing.work import Accounting

__all__ = ["cost_command"]


@command("cost")
@click.argument("path", metavar="X", type=click.Path(path_type=Path))
@cost_options
@click.option("--digital-frac", metavar="F", help="Another fraction of experts to keep digital.")
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Expert loads from this recording, not top-k over E.",
)
def cost_command(
    path: Path,
    costs: str | None,
    batch: int,
    context: int,
    accounting: Accounting,
    digital_frac: str | None,
    calibration: Path | None,
    as_json: bool,
) -> None:
    """Calculate what X (a bundle, plan.json or model) costs in time and energy, for prefill and decode.

    A model is placed as `hetc compile` does by default.
    """
    from hetc.cli.cost_summary import print_costs
    from hetc.compiler.costs import cost, open_plan
    from hetc.costing.profile import DEFAULT_COSTS, load_costs
    from hetc.plan.fractions import DigitalFraction

    plan = open_plan(path)
    system = load_costs(DEFAULT_COSTS if costs is None else costs)
    found = cost(
        plan,
        costs=system,
        batch=batch,
        context=context,
        accounting=accounting,
        digital_frac=digital_frac,
        calibration=calibration,
    )
    workload = f"batch {batch}, context {context:,}"
    fraction = plan.digital_frac if digital_frac is None else DigitalFraction(digital_frac)
    if as_json:
        print_json(
            {
                "costs": system.to_dict(),
                "accounting": accounting,
                "batch": batch,
                "context": context,
                "digital_frac": fraction,
                "expert_load": "top-k over E" if calibration is None else "recorded",
                "phases": {phase: step.to_dict() for phase, step in found.items()},
            }
        )
    else:
        source = "top-k over E" if calibration is None else f"recorded in {calibration}"
        print_costs(
            plan,
            system,
            accounting,
            found,
            f"{workload}, load {source}",
            str(fraction),
        )
