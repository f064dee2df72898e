"""Checks what a schema cannot say of a plan: that its numbers agree with each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hetc.base.errors import InvalidInputError

if TYPE_CHECKING:
    from hetc.plan.planned_unit import PlannedUnit

__all__ = ["check_totals"]


def check_totals(units: Sequence[PlannedUnit], model_parameters: int, where: str) -> None:
    """Checks that units are there once, groups and ranks possible, and the model as large as its units.

    Args:
        units: The plan's units.
        model_parameters: The parameters of the whole model.
        where: What the plan is, such as `plan my.json`; begins the message.

    Raises:
        InvalidInputError: The numbers contradict each other; the message names the key.
    """
    seen: set[str] = set()
    parts = len(units) + sum(unit.neurons for unit in units)
    for index, unit in enumerate(units):
        if unit.id in seen:
            raise InvalidInputError(f"{where}: units[{index}].id {unit.id!r} is there twice")
        seen.add(unit.id)
        if unit.group_size > parts:
            raise InvalidInputError(
                f"{where}: units[{index}].group_size is {unit.group_size}; the plan has {len(units)} units"
                + (f" with {parts - len(units)} neurons" if parts > len(units) else "")
            )
        if unit.digital_neurons > unit.neurons:
            raise InvalidInputError(
                f"{where}: units[{index}].digital_neurons is {unit.digital_neurons}; it has {unit.neurons}"
            )
        if unit.rank is not None and unit.group_size and unit.rank >= unit.group_size:
            raise InvalidInputError(
                f"{where}: units[{index}].rank is {unit.rank}; it must be less than group_size, "
                f"{unit.group_size}"
            )
    total = sum(unit.parameters for unit in units)
    if total > model_parameters:
        raise InvalidInputError(
            f"{where}: model_parameters is {model_parameters}; it must be at least {total}, the sum of the "
            "parameters of units"
        )
