"""At which digital fraction a unit changes sides."""

from __future__ import annotations

from fractions import Fraction

from hetc.plan import PlannedUnit

__all__ = ["flip_fraction"]


def flip_fraction(unit: PlannedUnit) -> Fraction | None:
    """The smallest fraction F that makes the unit digital, None for a unit that no fraction moves.

    A unit is digital iff rank < floor(F * group_size + 1/2), so from F = (rank + 1/2) / group_size on.
    """
    if unit.rank is None or not unit.follows_fraction:
        return None
    return Fraction(2 * unit.rank + 1, 2 * unit.group_size)
