"""The table of measured results that a sweep writes and a report reads: one row per measurement.

| column | type | what |
|---|---|---|
| fraction | float, 0..1 | share of each group's experts that was digital |
| score | text | what ranked the experts |
| seed | int | programming seed |
| noise_scale | float | factor c on the programming noise |
| task | text | what was measured on |
| metric | text | what was measured |
| value | float | the measurement |
| noise | text, optional | programming-noise model |
| unit | text, optional | unit of value, such as nats/token |
| higher_is_better | bool, optional | without it, a loss, perplexity, bits or error is better low |
| kind | text, optional | the one unit kind that was analog, or `none`, for sensitivities; empty otherwise |

Other columns record inputs, and are left alone. CSV and Parquet; Parquet needs pyarrow.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from hetc.base.errors import InvalidInputError, RuntimeMissingError, UsageError
from hetc.plan.fractions import DigitalFraction, FractionLike
from hetc.plan.plan import Plan

__all__ = [
    "OVER_MODEL",
    "Result",
    "check_format",
    "group_results",
    "mean_and_deviation",
    "placement_of",
    "read_results",
    "score_label",
    "to_results",
    "write_results",
]

FORMATS = (".parquet", ".csv")

OVER_MODEL = " over the model"
"""Ends the name of a score that ranks all experts together instead of layer by layer."""

LOWER_IS_BETTER = ("loss", "perplexity", "bits", "error", "divergence")

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Result:
    """One measurement; attributes as in the table above."""

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


def read_results(path: Path) -> list[Result]:
    """Reads a table of results.

    Raises:
        UsageError: No such file.
        InvalidInputError: Not such a table; the message names row and column.
        RuntimeMissingError: Parquet without pyarrow.
    """
    if not path.is_file():
        raise UsageError(f"results {path}: no such file; `hetc sweep` writes one")
    rows = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    return to_results(rows, f"results {path}, ")


def to_results(rows: Iterable[Mapping[str, Any]], where: str = "") -> list[Result]:
    """Rows of the table above as values; errors as for `read_results`, which begin with `where`."""
    return [_result(row, f"{where}row {number}") for number, row in enumerate(rows, 1)]


def score_label(score: str, ranking: str) -> str:
    """A score as the table names it: with what its experts compete for, where that isn't their layer."""
    return score if ranking == "layer" else f"{score}{OVER_MODEL}"


def placement_of(
    plan: Plan,
    *,
    seed: int | None = None,
    noise_scale: float | None = None,
    digital_frac: FractionLike | None = None,
    **other: Any,
) -> dict[str, Any]:
    """The columns that say what was measured; `other` is recorded as it is. None is what the plan says."""
    profile = plan.profile
    return {
        "fraction": float(plan.digital_frac if digital_frac is None else DigitalFraction(digital_frac)),
        "score": score_label(plan.score, plan.ranking),
        "seed": plan.seed if seed is None else seed,
        "noise": profile.noise.name,
        "noise_scale": float(profile.noise_scale if noise_scale is None else noise_scale),
        **other,
    }


def check_format(path: Path) -> None:
    """Raises `UsageError` for the name of a table that no format is known for."""
    if path.suffix not in FORMATS:
        raise UsageError(f"output {path}: the name must end in {' or '.join(FORMATS)}")


def write_results(path: Path, rows: Sequence[Mapping[str, Any]], suffix: str) -> None:
    """Writes a table of results.

    Args:
        path: The file, whatever it is called.
        rows: Columns as in the table above, and any others; all rows have the same.
        suffix: Which of `FORMATS` to write.

    Raises:
        RuntimeMissingError: Parquet without pyarrow.
    """
    if suffix == ".parquet":
        pyarrow, parquet = _import_pyarrow(path)
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


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


def _read_csv(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"results {path}: not a CSV file: {error}") from error


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    pyarrow, parquet = _import_pyarrow(path)
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise InvalidInputError(f"results {path}: not a Parquet file: {error}") from error
    return rows


def _import_pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise RuntimeMissingError(
            f"results {path}: Parquet needs pyarrow; run `pip install 'hetc[report]'`, or give CSV"
        ) from error


def _result(row: Mapping[str, Any], where: str) -> Result:
    def number(column: str) -> float:
        try:
            value = float(row[column])
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise InvalidInputError(f"{where}: {column} is {row[column]!r}, not a finite number")
        return value

    for column in ("fraction", "score", "seed", "noise_scale", "task", "metric", "value"):
        if row.get(column) is None:
            raise InvalidInputError(f"{where}: column {column!r} is missing (hetc/evaluation/results.py)")
    if not 0 <= number("fraction") <= 1:
        raise InvalidInputError(f"{where}: fraction is {row['fraction']}; it must be between 0 and 1")
    metric = str(row["metric"])
    better = str(row.get("higher_is_better") or "").lower()
    if not better and row.get("higher_is_better") is not False:
        better = str(not any(word in metric.lower() for word in LOWER_IS_BETTER)).lower()
    return Result(
        fraction=number("fraction"),
        score=str(row["score"]),
        seed=int(number("seed")),
        noise_scale=number("noise_scale"),
        task=str(row["task"]),
        metric=metric,
        value=number("value"),
        noise=str(row.get("noise") or ""),
        unit=str(row.get("unit") or ""),
        higher_is_better=better in ("true", "1", "yes"),
        kind=str(row.get("kind") or ""),
    )
