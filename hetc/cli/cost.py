"""`hetc cost`: tokens per second, watts and joules per token of a plan on a system."""

from __future__ import annotations

from pathlib import Path

import click

from hetc.cli.cost_options import cost_options
from hetc.cli.output import json_option, print_json

__all__ = ["cost_command"]


@click.command("cost")
@click.argument("path", metavar="X", type=click.Path(path_type=Path))
@cost_options
@click.option("--digital-frac", metavar="F", help="Another fraction of experts to keep digital.")
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Expert loads from this recording, not top-k over E.",
)
@json_option
def cost_command(
    path: Path,
    costs: str | None,
    batch: int,
    context: int,
    accounting: str,
    digital_frac: str | None,
    calibration: Path | None,
    as_json: bool,
) -> None:
    """Calculate what X (a bundle, plan.json or model) costs in time and energy, for prefill and decode.

    A model is placed as `hetc compile` does by default.
    """
    from hetc.cli.cost_summary import print_costs
    from hetc.compiler.sources import read_plan
    from hetc.costing.cost import plan_cost, recorded_loads
    from hetc.costing.profile import DEFAULT_COSTS, load_costs
    from hetc.costing.work import PHASES, Workload
    from hetc.plan.calibration import Calibration
    from hetc.plan.targets import targets_at

    plan = read_plan(path)
    fraction = plan.digital_frac if digital_frac is None else digital_frac
    units = plan.units if digital_frac is None else targets_at(plan, digital_frac)
    loads = None if calibration is None else recorded_loads(plan, Calibration.load(calibration))
    system = load_costs(costs or DEFAULT_COSTS)
    # A prompt has at least one token; a cache may be empty.
    workloads = [Workload(phase, batch, context) for phase in PHASES if context or phase == "decode"]
    found = {each.phase: plan_cost(units, system, each, accounting, loads) for each in workloads}
    if as_json:
        print_json(
            {
                "costs": system.to_dict(),
                "accounting": accounting,
                "batch": batch,
                "context": context,
                "digital_frac": fraction,
                "expert_load": "top-k over E" if calibration is None else "recorded",
                "phases": {phase: cost.to_dict() for phase, cost in found.items()},
            }
        )
    else:
        source = "top-k over E" if calibration is None else f"recorded in {calibration}"
        print_costs(
            plan, system, accounting, found, f"batch {batch}, context {context:,}, load {source}", fraction
        )
