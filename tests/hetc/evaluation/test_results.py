"""The table of results: read from CSV and Parquet alike, and what is wrong with one is named."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.schema import read_schema
from hetc.evaluation.results import CONDITIONS, mean_and_deviation
from hetc.evaluation.results_file import read_results, write_results

ROW: dict[str, Any] = {
    "fraction": 0.25,
    "score": "maxnn",
    "seed": 3,
    "noise_scale": 1.5,
    "task": "heldout",
    "metric": "loss",
    "value": 2.5,
    "model_sha256": "a" * 64,
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_read_with_other_columns(tmp_path: Path) -> None:
    (result,) = read_results(write(tmp_path / "r.csv", [{**ROW, "git": "abc", "unit": "nats/token"}]))
    assert {key: getattr(result, "model" if key == "model_sha256" else key) for key in ROW} == ROW
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
        ({"value": "nan"}, "row 1: value is nan; it must be a finite number"),
        ({"seed": "two"}, 'row 1: seed is "two"; it must be a whole number'),
        ({"fraction": "1.5"}, "row 1: fraction is 1.5; it must be at most 1"),
        ({"fraction": ""}, "row 1: fraction is missing"),
        ({"score": ""}, 'row 1: score is ""'),
        ({"model_sha256": "abc"}, 'row 1: model_sha256 is "abc"'),
        ({"higher_is_better": "perhaps"}, "row 1: higher_is_better is"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        read_results(write(tmp_path / "r.csv", [{**ROW, **change}]))
    assert message in str(error.value)


@pytest.mark.parametrize("column", ["metric", "model_sha256", "value"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    with pytest.raises(InvalidInputError, match=f"column '{column}' is missing"):
        read_results(write(tmp_path / "r.csv", [{key: ROW[key] for key in ROW if key != column}]))


def test_what_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_results(tmp_path / "none.csv")
    with pytest.raises(InvalidInputError, match="is a folder"):
        read_results(tmp_path)
    with pytest.raises(InvalidInputError, match="column 'fraction' is missing"):
        read_results(write(tmp_path / "two.csv", [{"a": 1, "b": 2}]))
    for content, message in [
        (b"", "cut off"),
        (b"\n", "is missing"),
        (b"\xff\xfe", "not UTF-8"),
        (b'fraction,score\r\n"0', "not a CSV file"),
        (b"fraction,fraction\r\n", "twice"),
    ]:
        (tmp_path / "r.csv").write_bytes(content)
        with pytest.raises(InvalidInputError, match=message):
            read_results(tmp_path / "r.csv")
    header = ",".join(ROW) + "\r\n"
    (tmp_path / "r.csv").write_text(header)
    with pytest.raises(InvalidInputError, match="no rows"):
        read_results(tmp_path / "r.csv")


@given(st.integers(1, 400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_that_was_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    """But where whole rows are gone: what is left is a table."""
    whole = write(tmp_path / "whole.csv", [{**ROW, "versions": "hetc 0.1.0"}] * 3).read_bytes()
    left = whole[:-cut]
    (tmp_path / "r.csv").write_bytes(left)
    if left.endswith((b"\r\n", b"\r")) and left.count(b"\r") > 1:
        assert len(read_results(tmp_path / "r.csv")) == 1, "rows that say the same count once"
    else:
        with pytest.raises(InvalidInputError):
            read_results(tmp_path / "r.csv")


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write_results(tmp_path / "whole.parquet", [ROW] * 50, ".parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    for content in (
        b"",
        b"PAR1",
        whole[:-20],
        whole[: len(whole) // 2],
        whole[:100] + b"x" * 200 + whole[300:],
    ):
        (tmp_path / "r.parquet").write_bytes(content)
        with pytest.raises(InvalidInputError, match="not a Parquet file"):
            read_results(tmp_path / "r.parquet")


def test_results_of_another_model_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", [ROW])
    assert read_results(path, model="a" * 64)
    with pytest.raises(
        InvalidInputError, match="of another model: its sha256 is aaaaaaaaaaaa, not bbbbbbbbbbbb"
    ):
        read_results(path, model="b" * 64)


def test_several_tables_merge(tmp_path: Path) -> None:
    rows = [{**ROW, "seed": seed, "value": seed / 8} for seed in range(4)]
    one, two = write(tmp_path / "one.csv", rows[:3]), write(tmp_path / "two.csv", rows[2:])
    assert [result.seed for result in read_results(one, two)] == [0, 1, 2, 3]
    assert read_results(one, one) == read_results(one)
    other = write(tmp_path / "other.csv", [{**rows[0], "value": 9.0}])
    with pytest.raises(InvalidInputError, match="differ about one measurement: loss of heldout by maxnn"):
        read_results(one, other)
    apart = write(tmp_path / "apart.csv", [{**rows[0], "value": 9.0, "window": 64}])
    assert len(read_results(one, apart)) == 4


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    row = {
        **ROW,
        "kind": "attention",
        "noise": "pcm",
        "unit": "nats/token",
        "higher_is_better": False,
        "window": 64,
        "drift_time": 3600.0,
    }
    overflow = {**row, "seed": 4, "metric": "perplexity", "value": math.inf}
    write_results(tmp_path / "r", [row, overflow], suffix)
    (tmp_path / "r").rename(tmp_path / f"r{suffix}")
    (result,) = read_results(tmp_path / f"r{suffix}")
    assert (result.kind, result.unit, result.higher_is_better) == ("attention", "nats/token", False)
    assert "64" in result.conditions and "3600.0" in result.conditions


def test_every_column_of_the_schema_has_a_meaning_and_a_type() -> None:
    schema = read_schema("results")
    for name, column in schema["properties"].items():
        assert column["title"], name
        assert {"type", "enum", "$ref"} & set(column), name
    assert set(CONDITIONS) <= set(schema["properties"])


def test_mean_and_deviation(tmp_path: Path) -> None:
    results = read_results(
        write(tmp_path / "r.csv", [{**ROW, "seed": int(value), "value": value} for value in (1.0, 2.0, 3.0)])
    )
    assert mean_and_deviation(results) == (2.0, 1.0)
    assert mean_and_deviation(results[:1]) == (1.0, 0.0)
