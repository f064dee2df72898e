"""The table of results: read from CSV and Parquet alike, and what is wrong with one is named."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from hetc.base.errors import InvalidInputError, UsageError
from hetc.evaluation.results import mean_and_deviation, read_results

ROW: dict[str, Any] = {
    "fraction": 0.25,
    "score": "maxnn",
    "seed": 3,
    "noise_scale": 1.5,
    "task": "heldout",
    "metric": "loss",
    "value": 2.5,
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_read_with_other_columns(tmp_path: Path) -> None:
    (result,) = read_results(write(tmp_path / "r.csv", [{**ROW, "git": "abc", "unit": "nats/token"}]))
    assert {key: getattr(result, key) for key in ROW} == ROW
    assert (result.unit, result.kind, result.higher_is_better) == ("nats/token", "", False)


@pytest.mark.parametrize(
    ("metric", "said", "better"),
    [
        ("acc_norm", None, True),
        ("word_perplexity", None, False),
        ("bits_per_byte", None, False),
        ("loss", "True", True),
        ("acc", "False", False),
        ("acc", "", True),
    ],
)
def test_direction_of_a_metric(tmp_path: Path, metric: str, said: str | None, better: bool) -> None:
    extra = {} if said is None else {"higher_is_better": said}
    (result,) = read_results(write(tmp_path / "r.csv", [{**ROW, "metric": metric, **extra}]))
    assert result.higher_is_better is better


def test_parquet_reads_as_csv_does(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{**ROW, "seed": seed, "higher_is_better": False} for seed in range(3)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "r.parquet")
    assert read_results(tmp_path / "r.parquet") == read_results(write(tmp_path / "r.csv", rows))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "nan"}, "row 1: value is 'nan', not a finite number"),
        ({"seed": "two"}, "row 1: seed is 'two'"),
        ({"fraction": "1.5"}, "fraction is 1.5; it must be between 0 and 1"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match="row 1") as error:
        read_results(write(tmp_path / "r.csv", [{**ROW, **change}]))
    assert message in str(error.value)


def test_missing_column_and_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="column 'metric' is missing"):
        read_results(write(tmp_path / "r.csv", [{key: ROW[key] for key in ROW if key != "metric"}]))
    with pytest.raises(UsageError, match="no such file"):
        read_results(tmp_path / "none.csv")


def test_mean_and_deviation(tmp_path: Path) -> None:
    results = read_results(write(tmp_path / "r.csv", [{**ROW, "value": value} for value in (1.0, 2.0, 3.0)]))
    assert mean_and_deviation(results) == (2.0, 1.0)
    assert mean_and_deviation(results[:1]) == (1.0, 0.0)
