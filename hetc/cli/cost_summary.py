"""What `hetc cost` shows people."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from hetc.base.quantity import quantity
from hetc.cli.output import new_console
from hetc.costing.cost import PART_NAMES, PARTS, Cost
from hetc.costing.profile import CostProfile
from hetc.costing.work import ACCOUNTINGS, Accounting, Phase
from hetc.plan.plan import Plan

__all__ = ["print_costs"]


def print_costs(
    plan: Plan,
    system: CostProfile,
    accounting: Accounting,
    found: Mapping[Phase, Cost],
    workload: str,
    fraction: str,
) -> None:
    """Throughput, power and energy of each phase, and what they are made of.

    Args:
        plan: The plan.
        system: The cost profile.
        accounting: One of `ACCOUNTINGS`.
        found: The cost by phase.
        workload: The step, in words.
        fraction: Fraction of the experts that is digital.
    """
    console = new_console()
    rows, columns = system.analog.tile_rows.value, system.analog.tile_columns.value
    tiles = f"tiles {rows:g} x {columns:g}"
    if (rows, columns) != (plan.profile.tile_rows, plan.profile.tile_columns):
        tiles += f", where the plan's have {plan.profile.tile_rows} x {plan.profile.tile_columns}"
    console.print(f"system      {system.name}: {system.description}, {tiles}")
    console.print(f"workload    {workload}; digital fraction {fraction}")
    console.print(f"accounting  {accounting}: {ACCOUNTINGS[accounting]}")
    if not any(unit.cache_width for unit in plan.units):
        console.print("note        the model has no KV cache of known shape, so none is counted")
    table = Table("", *found, box=None, pad_edge=False)
    table.add_row("tokens/s", *(f"{cost.tokens_per_second:,.0f}" for cost in found.values()))
    table.add_row("power", *(quantity(cost.watts, "W") for cost in found.values()))
    table.add_row("energy", *(f"{quantity(cost.joules_per_token, 'J')}/token" for cost in found.values()))
    table.add_row("step", *(quantity(cost.seconds, "s") for cost in found.values()))
    for name in PARTS:
        table.add_row(f"  {PART_NAMES[name]}", *(_part(cost, name) for cost in found.values()))
    console.print(table)


def _part(cost: Cost, name: str) -> str:
    part = cost.parts[name]
    return f"{quantity(part.seconds, 's')}, {quantity(part.joules / cost.tokens, 'J')}/token"
