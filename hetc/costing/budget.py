"""Budgets: as much digital as parameters, energy or time allow, where it gains most.

Units, or their neurons, stand in one order, score over the added cost of being digital; a budget takes the
longest beginning of it that it can pay. A larger budget takes a longer beginning, so plans are nested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Context
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import UsageError
from hetc.base.quantity import parse_quantity, quantity
from hetc.costing.cost import Cost, CostBasis
from hetc.costing.parts import Parts, order_parts
from hetc.plan.fractions import DigitalFraction
from hetc.plan.neurons import NeuronRanks
from hetc.plan.plan import PlannedUnit, SpentBudget
from hetc.plan.units import ranked_kind
from hetc.plan.words import Rule

__all__ = ["METRICS", "Budget", "fill_budget", "parse_budget"]

METRICS = {"parameters": "", "active-parameters": "", "energy": "J", "latency": "s"}
"""What a budget can bound, and the unit of its value: the last two per token."""
MOVABLE: tuple[Rule, ...] = ("densely-activated", "score-top-k", "score-rest", "score-neurons")
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
    neuron_scores: Mapping[str, NDArray[np.float64]] | None = None,
    block: int = 1,
) -> tuple[tuple[PlannedUnit, ...], DigitalFraction, SpentBudget, NeuronRanks | None]:
    """Moves units, or neurons, to the digital side for as long as the budget lasts.

    Args:
        units: A plan's units, experts ranked over the model. Those that rules or pins hold stay.
        scores: By unit id. Dense units that have one are placed too, else they stay where they are; they
            need a score that means the same for them as for experts, such as `expected-loss`.
        score: Its name, for the reasons.
        budget: The bound.
        basis: The system and step of energy and latency.
        model_parameters: All parameters of the model, which shares are of.
        neuron_scores: By unit id, `[neurons]`; given, units that have them are moved neuron by neuron.
        block: How many neurons move together.

    Returns:
        The units with targets, reasons and ranks; the digital fraction: the share of the experts, or of the
        neurons, that is digital; what was spent; the ranks of neurons if those were moved.

    Raises:
        UsageError: A budget below what the plan costs before any unit is moved; it names that cost.
    """
    price = _Price(budget.metric, basis)
    divided = neuron_scores or {}

    def movable(unit: PlannedUnit) -> bool:
        return unit.rule in MOVABLE and (unit.id in scores or unit.id in divided)

    parts = order_parts(units, movable, scores, divided, block, price.added)

    def total(count: int) -> float:
        return price.of(parts.placed(count))

    idle = sum(unit.parameters - price.parameters(unit) for unit in units)
    everything = model_parameters - idle if budget.relative else 1.0
    free = parts.free(price.added)
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
    kept = _last_within(total, budget.bound * everything, start, len(parts))
    spent = SpentBudget(budget.metric, budget.requested, total(kept), price.words)
    if neuron_scores is None:
        placed = _explain(parts, kept, score, scores, spent)
        experts = [unit for unit in placed if unit.kind == ranked_kind(placed)]
        digital = Fraction(sum(unit.target == "digital" for unit in experts), max(1, len(experts)))
        return placed, DigitalFraction(digital), spent, None
    placed = _explain_neurons(parts, kept, score, neuron_scores, spent)
    order = NeuronRanks(parts.ranks, {unit: neuron_scores[unit].astype(np.float32) for unit in parts.ranks})
    return placed, DigitalFraction(Fraction(kept, max(1, len(parts)))), spent, order


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
            self._per_token(self.basis.unit_cost(replace(unit, target=target, digital_neurons=0)))
            for target in ("digital", "analog")
        )
        return digital - analog

    def of(self, units: Iterable[PlannedUnit]) -> float:
        """A whole plan's cost."""
        if METRICS[self.metric]:
            return self._per_token(self.basis.plan_cost(units))
        return sum(self.digital(unit) * unit.digital_share for unit in units)

    def _per_token(self, cost: Cost) -> float:
        return cost.joules_per_token if self.metric == "energy" else cost.seconds / cost.tokens


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
    parts: Parts, kept: int, score: str, scores: Mapping[str, float], spent: SpentBudget
) -> tuple[PlannedUnit, ...]:
    """Reasons of the units that were placed, and ranks of the experts over the whole order."""
    units = parts.placed(kept)
    place = {unit: int(ranks[0]) for unit, ranks in parts.ranks.items()}

    def position(unit: PlannedUnit) -> tuple[int, int]:
        held = 0 if unit.target == "digital" else 2
        return (1, place[unit.id]) if unit.id in place else (held, unit.rank or 0)

    experts = sorted((unit for unit in units if unit.kind == ranked_kind(units)), key=position)
    ranks = {unit.id: rank for rank, unit in enumerate(experts)}

    def explained(unit: PlannedUnit) -> PlannedUnit:
        unit = replace(unit, rank=ranks.get(unit.id))
        if unit.id not in place:
            return unit
        reason = (
            f"{score} over added {spent.metric} puts it {place[unit.id] + 1} of {len(parts)} in the model; "
            f"the first {kept} are digital for {spent.metric} {spent.requested}"
        )
        return replace(unit, rule="budget", reason=reason, score={score: scores[unit.id]})

    return tuple(map(explained, units))


def _explain_neurons(
    parts: Parts,
    kept: int,
    score: str,
    neuron_scores: Mapping[str, NDArray[np.float64]],
    spent: SpentBudget,
) -> tuple[PlannedUnit, ...]:
    """Reasons of the units whose neurons were placed, which all stand in one order."""

    def explained(unit: PlannedUnit) -> PlannedUnit:
        if unit.id not in parts.ranks:
            return replace(unit, rank=None, group_size=0)
        reason = (
            f"{unit.digital_neurons} of its {unit.neurons} neurons are among the first {kept} of "
            f"{len(parts)} by {score} over added {spent.metric}, digital for {spent.metric} {spent.requested}"
        )
        return replace(
            unit,
            rule="budget",
            reason=reason,
            score={score: float(neuron_scores[unit.id].sum())},
            rank=int(parts.ranks[unit.id].max()),
            group_size=len(parts),
        )

    return tuple(map(explained, parts.placed(kept)))
