"""What differs between two plans, or between two files of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import UsageError
from hetc.base.frames import to_frame
from hetc.bundle.bundle import Bundle
from hetc.compiler.costs import open_plan
from hetc.costing.cost import CostBasis
from hetc.costing.profile import load_costs
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.scores import Scores, load_scores
from hetc.plan.words import Target

if TYPE_CHECKING:
    import pandas

__all__ = [
    "Comparable",
    "MovedUnit",
    "PlanComparison",
    "PlanFigures",
    "RankChange",
    "ScoreComparison",
    "compare",
    "compare_plans",
    "compare_scores",
    "rank_correlation",
]

Comparable = Union[str, Path, Bundle, Plan, Scores]


@dataclass(frozen=True)
class PlanFigures:
    """What a plan comes to.

    Attributes:
        score: What ranked, and where: `maxnn per layer`.
        digital, analog: Shares of the parameters in percent.
        predicted_loss: Nats per token that its noise is predicted to cost; None where it wasn't.
        joules_per_token, tokens_per_second: Of a decoding step.
    """

    score: str
    digital: float
    analog: float
    predicted_loss: float | None
    joules_per_token: float
    tokens_per_second: float

    @classmethod
    def of(cls, plan: Plan, basis: CostBasis) -> PlanFigures:
        """Those of a plan on a system."""
        digital, analog, _ = plan.shares.percent()
        cost = basis.plan_cost(plan.units)
        return cls(
            f"{plan.score} per {plan.ranking}",
            digital,
            analog,
            plan.predicted_loss,
            cost.joules_per_token,
            cost.tokens_per_second,
        )


@dataclass(frozen=True)
class MovedUnit:
    """A unit that two plans put on different sides, or of which other parts are digital.

    Attributes:
        id: The unit's id.
        targets: In the first plan and in the second.
        digital_shares: Share of its weights that is digital, in both.
        ranks: In its group, 0 = first to be digital, in both; None where it isn't ranked.
    """

    id: str
    targets: tuple[Target, Target]
    digital_shares: tuple[float, float]
    ranks: tuple[int | None, int | None]


@dataclass(frozen=True)
class PlanComparison:
    """Two plans of the same units.

    Attributes:
        figures: What each comes to.
        moved: The units that differ, in model order.
        rank_correlation: Spearman's, of the units that both rank; None with fewer than two.
        basis: The system and step that costs are of, in words.
    """

    figures: tuple[PlanFigures, PlanFigures]
    moved: tuple[MovedUnit, ...]
    rank_correlation: float | None
    basis: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def to_dataframe(self) -> pandas.DataFrame:
        """The units that differ as a pandas frame.

        Its columns are `id`, and with `first_` and `second_` before it `target`, `digital_share` and `rank`.

        Raises:
            RuntimeMissingError: pandas is not installed.
        """
        return _pairs(self.moved, ("id",), ("target", "digital_share", "rank"))


@dataclass(frozen=True)
class RankChange:
    """A unit's place by one score in two files, 0 = highest."""

    score: str
    id: str
    values: tuple[float, float]
    ranks: tuple[int, int]


@dataclass(frozen=True)
class ScoreComparison:
    """Two files of scores.

    Attributes:
        rank_correlation: Spearman's for each score that both have, over the units that both have.
        only: Names of scores that just the first has, and just the second.
        changes: Every unit of those scores, the largest change of rank first.
    """

    rank_correlation: Mapping[str, float]
    only: tuple[tuple[str, ...], tuple[str, ...]]
    changes: tuple[RankChange, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def to_dataframe(self) -> pandas.DataFrame:
        """The changes as a pandas frame.

        Its columns are `score`, `id`, and with `first_` and `second_` before it `value` and `rank`.

        Raises:
            RuntimeMissingError: pandas is not installed.
        """
        return _pairs(self.changes, ("score", "id"), ("value", "rank"))


def _pairs(
    records: Sequence[MovedUnit | RankChange], same: Sequence[str], differing: Sequence[str]
) -> pandas.DataFrame:
    """A frame with two columns for what each record has of both."""
    sides = ("first", "second")
    columns = [*same, *(f"{side}_{name}" for name in differing for side in sides)]
    rows = [
        [
            *(getattr(record, name) for name in same),
            *(value for name in differing for value in getattr(record, f"{name}s")),
        ]
        for record in records
    ]
    return to_frame((dict(zip(columns, row, strict=True)) for row in rows), columns)


def compare(
    first: Comparable, second: Comparable, *, basis: CostBasis | None = None
) -> PlanComparison | ScoreComparison:
    """Compares two plans, bundles or models with each other, or two files of scores.

        >>> import hetc
        >>> few = hetc.compile("samples/tiny_moe/model.onnx", "few.hetc", digital_frac=0)
        >>> found = hetc.compare(few, "samples/tiny_moe/model.onnx")
        >>> found.moved[0].targets
        ('analog', 'digital')

    Args:
        first: A plan, bundle or scores, or the path of one; a model is placed as `hetc compile` does by
            default. Scores are what `hetc score` and `hetc calibrate` write.
        second: Another one of the same kind.
        basis: The system and step that costs of plans are of; None for decoding on the default one.

    Raises:
        UsageError: Nothing is there, scores with a plan, plans of different units, or no score in common.
        InvalidInputError: A file that cannot be used.
    """
    one, two = _open(first), _open(second)
    if isinstance(one, Scores) and isinstance(two, Scores):
        return compare_scores(one, two)
    if isinstance(one, Plan) and isinstance(two, Plan):
        return compare_plans(one, two, basis or CostBasis(load_costs()))
    raise UsageError("one of the two holds scores, the other a plan; give two of a kind")


def compare_plans(first: Plan, second: Plan, basis: CostBasis) -> PlanComparison:
    """See `compare`."""
    odd = sorted(first.by_id.keys() ^ second.by_id.keys())
    if odd:
        raise UsageError(
            f"the plans are of different models: {len(odd)} units, such as {odd[0]}, are in one alone"
        )
    pairs = [(unit, second.by_id[unit.id]) for unit in first.units]
    ranked = [(one.rank, two.rank) for one, two in pairs if one.rank is not None and two.rank is not None]
    return PlanComparison(
        (PlanFigures.of(first, basis), PlanFigures.of(second, basis)),
        tuple(_moved(one, two) for one, two in pairs if _sides(one) != _sides(two)),
        rank_correlation(*zip(*ranked, strict=True)) if len(ranked) > 1 else None,
        str(basis),
    )


def compare_scores(first: Scores, second: Scores) -> ScoreComparison:
    """See `compare`."""
    common = [name for name in first.values if name in second.values]
    if not common:
        names = [", ".join(scores.values) or "none" for scores in (first, second)]
        raise UsageError(f"no score is in both: the first has {names[0]}, the second {names[1]}")
    correlations, changes = {}, []
    for name in common:
        one, two = first.values[name], second.values[name]
        units = [unit for unit in one if unit in two]
        if not units:
            raise UsageError(f"score {name} is of other units in the second file; are both of one model?")
        values = [[scores[unit] for unit in units] for scores in (one, two)]
        correlations[name] = rank_correlation(*values)
        ranks = [np.argsort(np.argsort([-value for value in each], kind="stable")) for each in values]
        for unit, *pair, before, after in zip(units, *values, *ranks, strict=True):
            changes.append(RankChange(name, unit, (pair[0], pair[1]), (int(before), int(after))))
    changes.sort(key=lambda change: -abs(change.ranks[0] - change.ranks[1]))
    only = (
        tuple(name for name in first.values if name not in common),
        tuple(name for name in second.values if name not in common),
    )
    return ScoreComparison(correlations, only, tuple(changes))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rho: the correlation of ranks, equal values sharing theirs; 1 where nothing varies."""
    ranks = np.array([_shared_ranks(first), _shared_ranks(second)])
    if (ranks == ranks[0]).all():
        return 1.0
    if (np.ptp(ranks, axis=1) == 0).any():
        return 0.0
    return float(np.corrcoef(ranks)[0, 1])


def _shared_ranks(values: Sequence[float]) -> NDArray[np.float64]:
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts + 1) / 2)[place]
    return ranks


def _open(target: Comparable) -> Plan | Scores:
    if isinstance(target, (str, Path)) and Path(target).suffix == ".safetensors" and Path(target).is_file():
        return load_scores(Path(target))
    return target if isinstance(target, Scores) else open_plan(target)


def _sides(unit: PlannedUnit) -> tuple[Target, int]:
    return unit.target, unit.digital_neurons


def _moved(one: PlannedUnit, two: PlannedUnit) -> MovedUnit:
    return MovedUnit(
        one.id, (one.target, two.target), (one.digital_share, two.digital_share), (one.rank, two.rank)
    )
