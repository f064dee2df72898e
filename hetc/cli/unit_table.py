"""What `hetc explain` shows of many units: a line for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.table import Table

from hetc.base.errors import UsageError
from hetc.cli.output import new_console
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.targets import flip_fraction

__all__ = ["choose_units", "is_pattern", "print_table", "unit_to_dict"]


def is_pattern(text: str) -> bool:
    """Whether it may stand for several units."""
    return any(each in text for each in "*?[")


def choose_units(plan: Plan, patterns: Sequence[str], path: Path) -> list[PlannedUnit]:
    """The units that a pattern matches, in model order; all of them without one.

    Raises:
        UsageError: A pattern that matches none.
    """
    for pattern in patterns:
        if not any(_matches(unit, pattern) for unit in plan.units):
            raise UsageError(f"no unit of {path} is called {pattern!r}; `hetc explain {path}` shows all")
    return [
        unit for unit in plan.units if not patterns or any(_matches(unit, pattern) for pattern in patterns)
    ]


def _matches(unit: PlannedUnit, pattern: str) -> bool:
    return unit.id == pattern or fnmatchcase(unit.id, pattern)


def unit_to_dict(unit: PlannedUnit) -> dict[str, Any]:
    """Plain data, with the fraction from which on the unit is digital."""
    return {**asdict(unit), "digital_from": flip_fraction(unit)}


def print_table(units: Sequence[PlannedUnit]) -> None:
    """Target, rule, score, rank and where that changes."""
    table = Table(
        *("unit", "target", "rule", "score", "rank", "digital from", "parameters"), box=None, pad_edge=False
    )
    for unit in units:
        flip = flip_fraction(unit)
        table.add_row(
            unit.id,
            f"{unit.digital_share:.1%} digital" if 0 < unit.digital_share < 1 else unit.target,
            unit.rule,
            next((f"{value:.6g}" for value in unit.score.values()), ""),
            "" if unit.rank is None else f"{unit.rank + 1} of {unit.group_size}",
            "" if flip is None else f"{float(flip):.4g}",
            f"{unit.parameters:,}",
        )
    new_console().print(table)
