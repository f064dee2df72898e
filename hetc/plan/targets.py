"""What a digital fraction makes of a plan: the targets of its units, and where a unit changes sides."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from hetc.plan.fractions import DigitalFraction, FractionLike
from hetc.plan.plan import Plan, PlannedUnit

__all__ = ["flip_fraction", "rank_fraction", "targets_at"]


def targets_at(plan: Plan, digital_frac: FractionLike) -> tuple[PlannedUnit, ...]:
    """The plan's units with the targets that `hetc.digital_frac` gives them; pinned units stay.

    Raises:
        UsageError: Not a fraction in 0..1.
    """
    fraction = DigitalFraction(digital_frac)

    def place(unit: PlannedUnit) -> PlannedUnit:
        if unit.rank is None or not unit.follows_fraction:
            return unit
        count = fraction.count(unit.group_size)
        neurons = unit.digital_neurons
        if plan.neuron_ranks is not None:
            neurons = int((plan.neuron_ranks.ranks[unit.id] < count).sum())
        return replace(unit, target="digital" if unit.rank < count else "analog", digital_neurons=neurons)

    return tuple(map(place, plan.units))


def flip_fraction(unit: PlannedUnit) -> Fraction | None:
    """The smallest fraction F that makes the unit digital, None for a unit that no fraction moves.

    A unit is digital iff rank < floor(F * group_size + 1/2), so from F = (rank + 1/2) / group_size on.
    """
    if unit.rank is None or not unit.follows_fraction:
        return None
    return rank_fraction(unit.rank, unit.group_size)


def rank_fraction(rank: int, group_size: int) -> Fraction:
    """The smallest fraction that makes what has this rank in its group digital."""
    return Fraction(2 * rank + 1, 2 * group_size)
