"""What a digital fraction makes of a plan: the targets of its units, and where a unit changes sides."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from hetc.plan.fractions import DigitalFraction, FractionLike
from hetc.plan.neurons import axis_of, per_line
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.units import Matrix

__all__ = [
    "as_compiled",
    "at_fraction",
    "digital_lines",
    "digital_neurons",
    "flip_fraction",
    "rank_fraction",
    "targets_at",
]


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
        neurons = unit.neurons if unit.rank < count else 0
        if plan.neuron_ranks is not None:
            neurons = int((plan.neuron_ranks.ranks[unit.id] < count).sum())
        return replace(unit, target="digital" if unit.rank < count else "analog", digital_neurons=neurons)

    return tuple(map(place, plan.units))


def at_fraction(plan: Plan, digital_frac: FractionLike | None) -> Plan:
    """The plan with another digital fraction, and the targets that it gives; as it is for None."""
    if digital_frac is None:
        return plan
    return replace(
        plan,
        units=targets_at(plan, digital_frac),
        digital_frac=DigitalFraction(digital_frac),
        compiled_frac=plan.compiled_frac or plan.digital_frac,
    )


def as_compiled(plan: Plan) -> Plan:
    """The plan at the fraction that its ADC bounds are for."""
    return at_fraction(plan, plan.compiled_frac)


def digital_neurons(plan: Plan, unit: PlannedUnit) -> NDArray[np.bool_] | None:
    """`[neurons]`: which neurons of a unit are digital; None where the plan places it as a whole."""
    order = plan.neuron_ranks
    if order is None or not unit.follows_fraction or unit.id not in order.ranks:
        return None
    digital: NDArray[np.bool_] = order.ranks[unit.id] < plan.digital_frac.count(unit.group_size)
    return digital


def digital_lines(plan: Plan, unit: PlannedUnit, matrix: Matrix) -> dict[str, NDArray[np.bool_]]:
    """Which inputs or outputs of an analog unit's matrix are digital, where the plan places its neurons.

    Returns:
        Nothing, or a mask under the name `digital_inputs` or `digital_outputs`.
    """
    digital = digital_neurons(plan, unit)
    if digital is None:
        return {}
    axis = axis_of(unit.kind, unit.matrices, matrix)
    return {f"digital_{axis}": per_line(digital, getattr(matrix, axis))}


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
