"""Budgets: as much digital as parameters, energy or time allow, where it gains most.

Units stand in one order, score over the added cost of being digital; a budget takes the longest beginning of
it that it can pay. A larger budget takes a longer beginning, so plans are nested.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Context
from fractions import Fraction

from hetc.base.errors import UsageError
from hetc.base.quantity import parse_quantity, quantity
from hetc.costing.cost import Cost, CostBasis
from hetc.plan.fractions import DigitalFraction
from hetc.plan.plan import PlannedUnit, SpentBudget
from hetc.plan.words import Rule, Target

__all__ = ["METRICS", "Budget", "fill_budget", "parse_budget"]

METRICS = {"parameters": "", "active-parameters": "", "energy": "J", "latency": "s"}
"""What a budget can bound, and the unit of its value: the last two per token."""
MOVABLE: tuple[Rule, ...] = ("densely-activated", "score-top-k", "score-rest")
"""Rules that give way to a budget."""


@dataclass(frozen=True)
class Budget:
    """A bound on what a plan may cost.

    Attributes:
        metric: `parameters` (that are digital and counted), `active-parameters` (those that a token meets on
            average: an expert's times its load), `energy` or `latency` (per token).
        bound: A number of parameters, joules or seconds; or a share of all, where `relative`.
        requested: The bound, as written.
        relative: Whether the bound is a share of all parameters, as the shares that a plan shows.
    """

    metric: str
    bound: float
    requested: str
    relative: bool = False


def parse_budget(text: str) -> Budget:
    """`parameters:20%`, `active-parameters:1.3B`, `energy:2.0mJ`, `latency:80us`.

    Raises:
        UsageError: Another metric, or a value that isn't a number of its unit.
    """
    metric, _, value = text.partition(":")
    if metric not in METRICS:
        raise UsageError(
            f"budget {text!r}: the metric is not one of {', '.join(METRICS)}, as in energy:2.0mJ"
        )
    relative = not METRICS[metric] and value.endswith("%")
    try:
        bound = parse_quantity(value.removesuffix("%") if relative else value, METRICS[metric])
    except UsageError as error:
        raise UsageError(f"budget {text!r}: {error}") from error
    if relative and bound > 100:
        raise UsageError(f"budget {text!r}: more than all {metric}")
    return Budget(metric, bound / 100 if relative else bound, value, relative)


def fill_budget(
    units: Sequence[PlannedUnit],
    scores: Mapping[str, float],
    score: str,
    budget: Budget,
    basis: CostBasis,
    model_parameters: int,
) -> tuple[tuple[PlannedUnit, ...], DigitalFraction, SpentBudget]:
    """Moves units to the digital side for as long as the budget lasts.

    Args:
        units: A plan's units, experts ranked over the model. Those that rules or pins hold stay.
        scores: By unit id. Dense units that have one are placed too, else they stay where they are; they
            need a score that means the same for them as for experts, such as `expected-loss`.
        score: Its name, for the reasons.
        budget: The bound.
        basis: The system and step of energy and latency.
        model_parameters: All parameters of the model, which shares are of.

    Returns:
        The units with targets, reasons and ranks; the digital fraction of the experts; what was spent.

    Raises:
        UsageError: A budget below what the plan costs before any unit is moved; it names that cost.
    """
    price = _Price(budget.metric, basis)
    movable = [unit for unit in units if unit.id in scores and unit.rule in MOVABLE]
    added = {unit.id: price.added(unit) for unit in movable}

    def gain(unit: PlannedUnit) -> float:
        """What a unit of the metric buys; a unit that is cheaper digital comes before all others."""
        return scores[unit.id] / added[unit.id] if added[unit.id] > 0 else math.inf

    order = sorted(movable, key=lambda unit: (-gain(unit), -scores[unit.id]))

    def total(count: int) -> float:
        return price.of(_targeted(units, order, count))

    idle = sum(unit.parameters - price.parameters(unit) for unit in units)
    everything = model_parameters - idle if budget.relative else 1.0
    free = sum(added[unit.id] <= 0 for unit in order)
    start = min(free, 0, key=total)
    if total(start) > budget.bound * everything:
        # Rounded up, so that what is printed can be asked for.
        least = float(Context(3, ROUND_CEILING).create_decimal_from_float(total(start) / everything))
        unit = METRICS[budget.metric]
        shown = f"{100 * least:.3g}%" if budget.relative else quantity(least, unit).replace(" ", "")
        raise UsageError(
            f"budget {budget.metric}:{budget.requested} is less than the least that the plan can have, "
            f"{budget.metric}:{shown}{' per token' if unit else ''}; give a larger one"
        )
    kept = _last_within(total, budget.bound * everything, start, len(order))
    spent = SpentBudget(budget.metric, budget.requested, total(kept), price.words)
    placed = _explain(_targeted(units, order, kept), order, kept, score, scores, spent)
    experts = [unit for unit in placed if unit.kind == "expert"]
    digital = Fraction(sum(unit.target == "digital" for unit in experts), max(1, len(experts)))
    return placed, DigitalFraction(digital), spent


@dataclass(frozen=True)
class _Price:
    """What plans and units cost in a metric."""

    metric: str
    basis: CostBasis

    @property
    def words(self) -> str:
        """What energy and latency are counted for."""
        return str(self.basis) if METRICS[self.metric] else ""

    def parameters(self, unit: PlannedUnit) -> float:
        """Those of a unit, or those that a token meets on average."""
        return unit.parameters * (unit.load if self.metric == "active-parameters" else 1.0)

    def digital(self, unit: PlannedUnit) -> float:
        """What a unit that is digital counts for."""
        return self.parameters(unit) if unit.counted else 0.0

    def added(self, unit: PlannedUnit) -> float:
        """Digital minus analog."""
        if not METRICS[self.metric]:
            return self.digital(unit)
        digital, analog = (
            self._per_token(self.basis.unit_cost(replace(unit, target=target)))
            for target in ("digital", "analog")
        )
        return digital - analog

    def of(self, units: Iterable[PlannedUnit]) -> float:
        """A whole plan's cost."""
        if METRICS[self.metric]:
            return self._per_token(self.basis.plan_cost(units))
        return sum(self.digital(unit) for unit in units if unit.target == "digital")

    def _per_token(self, cost: Cost) -> float:
        return cost.joules_per_token if self.metric == "energy" else cost.seconds / cost.tokens


def _targeted(
    units: Sequence[PlannedUnit], order: Sequence[PlannedUnit], count: int
) -> tuple[PlannedUnit, ...]:
    """The units with the first `count` of the order digital, and the rest of it analog."""
    targets: dict[str, Target] = {
        unit.id: "digital" if place < count else "analog" for place, unit in enumerate(order)
    }
    return tuple(replace(unit, target=targets.get(unit.id, unit.target)) for unit in units)


def _last_within(total: Callable[[int], float], bound: float, start: int, end: int) -> int:
    """The largest count that keeps the bound, as `start` does, by bisection.

    Units add up but for experts of a layer that work side by side, so totals grow with the count from where
    units cost something on; where they don't quite, this finds a count that fits while the next doesn't.
    """
    if total(end) <= bound:
        return end
    while end - start > 1:
        middle = (start + end) // 2
        if total(middle) <= bound:
            start = middle
        else:
            end = middle
    return start


def _explain(
    units: Sequence[PlannedUnit],
    order: Sequence[PlannedUnit],
    kept: int,
    score: str,
    scores: Mapping[str, float],
    spent: SpentBudget,
) -> tuple[PlannedUnit, ...]:
    """Reasons of the units that were placed, and ranks of the experts over the whole order."""
    place = {unit.id: index for index, unit in enumerate(order)}

    def position(unit: PlannedUnit) -> tuple[int, int]:
        held = 0 if unit.target == "digital" else 2
        return (1, place[unit.id]) if unit.id in place else (held, unit.rank or 0)

    experts = sorted((unit for unit in units if unit.kind == "expert"), key=position)
    ranks = {unit.id: rank for rank, unit in enumerate(experts)}

    def explained(unit: PlannedUnit) -> PlannedUnit:
        unit = replace(unit, rank=ranks.get(unit.id))
        if unit.id not in place:
            return unit
        reason = (
            f"{score} over added {spent.metric} puts it {place[unit.id] + 1} of {len(order)} in the model; "
            f"the first {kept} are digital for {spent.metric} {spent.requested}"
        )
        return replace(unit, rule="budget", reason=reason, score={score: scores[unit.id]})

    return tuple(map(explained, units))
