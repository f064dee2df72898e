"""Measured results: what a row of the table means, and how rows are grouped.

The table's columns, with their types and units, are in `results.schema.json`; `hetc.evaluation.results_file`
reads and writes it. Columns that the schema doesn't name are left alone.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from hetc.base.errors import InvalidInputError
from hetc.base.schema import check_record
from hetc.plan.fractions import DigitalFraction, FractionLike
from hetc.plan.neurons import block_size
from hetc.plan.plan import Plan

__all__ = [
    "CONDITIONS",
    "MEASURED",
    "OVER_MODEL",
    "Result",
    "Row",
    "finite",
    "group_results",
    "mean_and_deviation",
    "merge_results",
    "placement_of",
    "score_label",
    "to_results",
]

Row = dict[str, Any]
"""A row of the table by its columns."""

MEASURED = "measured conductances"
"""What the column `noise` says of a bundle that runs on them."""
OVER_MODEL = " over the model"
"""Ends the name of a score that ranks all experts together instead of layer by layer."""
OF_NEURONS = " of neurons"
"""Follows the name of a score that ranks single neurons."""

LOWER_IS_BETTER = ("loss", "perplexity", "bits", "error", "divergence")

CONDITIONS = (
    *("profile_sha256", "files_sha256", "data_sha256", "window", "tasks_sha256", "limit"),
    *("checkpoint_sha256", "runtime", "store", "mode", "drift_time", "analog", "digital"),
)
"""Columns in which results that are compared with each other agree."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Result:
    """One measurement.

    Attributes:
        fraction, score, seed, noise_scale, task, metric, value, noise, unit, higher_is_better, kind: As in
            `results.schema.json`; the score's name says, too, if it ranked over the model.
        model: sha256 of the model.
        conditions: What `CONDITIONS` say, in their order, as text.
    """

    fraction: float
    score: str
    seed: int
    noise_scale: float
    task: str
    metric: str
    value: float
    noise: str = ""
    unit: str = ""
    higher_is_better: bool = True
    kind: str = ""
    model: str = ""
    conditions: tuple[str, ...] = ("",) * len(CONDITIONS)

    @property
    def mode(self) -> str:
        """What analog units computed; empty where the table doesn't say."""
        return self.conditions[CONDITIONS.index("mode")]


def to_results(rows: Iterable[Mapping[str, Any]], where: str = "results, ") -> list[Result]:
    """Rows of the table as values, without those whose value was not finite.

    Args:
        rows: The table; None stands for no value.
        where: What the rows are of; begins messages.

    Raises:
        InvalidInputError: A row that the schema doesn't allow; the message names row and column.
    """
    results = []
    for number, row in enumerate(rows, 1):
        known = {key: value for key, value in row.items() if value is not None or key == "value"}
        check_record(known, "results", f"{where}row {number}")
        if known["value"] is not None:
            results.append(_result(known))
    return results


def finite(value: Any) -> Any:
    """None in place of a number that isn't finite: perplexities overflow, and no table can hold that."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def merge_results(tables: Iterable[Iterable[Result]]) -> list[Result]:
    """All results of several tables; what several say alike counts once.

    Raises:
        InvalidInputError: Two differ about one measurement.
    """
    merged: dict[tuple[Any, ...], Result] = {}
    for result in (result for table in tables for result in table):
        what = tuple(value for key, value in vars(result).items() if key != "value")
        known = merged.setdefault(what, result)
        if known.value != result.value:
            raise InvalidInputError(
                f"results differ about one measurement: {result.metric} of {result.task} by {result.score} "
                f"at fraction {result.fraction:g}, {result.noise} c = {result.noise_scale:g}, seed "
                f"{result.seed} is {known.value:.6g} and {result.value:.6g}; they are of different plans or "
                "versions, so give only one of them"
            )
    return list(merged.values())


def score_label(score: str, ranking: str, granularity: str = "expert") -> str:
    """A score as the table names it: with what it ranks and where, if that isn't a layer's experts."""
    block = block_size(granularity)
    what = "" if block is None else OF_NEURONS if block == 1 else f"{OF_NEURONS} by {block}"
    return f"{score}{what}{'' if ranking == 'layer' else OVER_MODEL}"


def placement_of(
    plan: Plan,
    *,
    seed: int | None = None,
    noise_scale: float | None = None,
    drift_time: float | None = None,
    digital_frac: FractionLike | None = None,
    mode: str | None = None,
) -> Row:
    """The columns that say what a plan and the choices of a session make; None is what the plan says."""
    profile = plan.profile.with_noise(None, noise_scale)
    return {
        "fraction": float(plan.digital_frac if digital_frac is None else DigitalFraction(digital_frac)),
        "score": score_label(plan.score, plan.ranking, plan.granularity),
        "ranking": plan.ranking,
        "granularity": plan.granularity,
        "seed": plan.seed if seed is None else seed,
        "noise": profile.noise.name if plan.conductances is None else MEASURED,
        "noise_scale": float(profile.noise_scale),
        "mode": mode or "noisy",
        "drift_time": float(profile.drift_time if drift_time is None else drift_time),
        "profile": profile.name,
        "profile_sha256": profile.digest,
    }


def group_results(results: Iterable[Result], key: Callable[[Result], Key]) -> dict[Key, list[Result]]:
    """The results by key, in order of first appearance."""
    groups: dict[Key, list[Result]] = defaultdict(list)
    for result in results:
        groups[key(result)].append(result)
    return dict(groups)


def mean_and_deviation(results: Iterable[Result]) -> tuple[float, float]:
    """Mean and sample standard deviation of the values; the deviation of one value is 0."""
    values = [result.value for result in results]
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def _result(row: Mapping[str, Any]) -> Result:
    lower = any(word in row["metric"].lower() for word in LOWER_IS_BETTER)
    return Result(
        fraction=float(row["fraction"]),
        score=row["score"],
        seed=row["seed"],
        noise_scale=float(row["noise_scale"]),
        task=row["task"],
        metric=row["metric"],
        value=float(row["value"]),
        noise=row.get("noise", ""),
        unit=row.get("unit", ""),
        higher_is_better=row.get("higher_is_better", not lower),
        kind=row.get("kind", ""),
        model=row["model_sha256"],
        conditions=tuple(str(row.get(name, "")) for name in CONDITIONS),
    )
