"""Reads and writes tables of results, as CSV and Parquet; Parquet needs pyarrow."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.extras import needs
from hetc.base.reading import read_text, require_file
from hetc.base.schema import read_schema
from hetc.evaluation.results import Result, Row, finite, merge_results, to_results

__all__ = ["check_format", "read_results", "write_results"]

FORMATS = (".parquet", ".csv")
MOST_ROWS = 10_000_000
"""Rows of the longest table that is read."""
TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def read_results(*paths: Path, model: str | None = None) -> list[Result]:
    """Reads tables of results, and merges them.

    Args:
        paths: The files.
        model: sha256 of the model that all must be of; None for any.

    Raises:
        UsageError: No such file.
        InvalidInputError: Not such a table (the message names row and column), results of another model, or
            two that differ about one measurement.
        RuntimeMissingError: Parquet without pyarrow.
    """
    tables = []
    for path in paths:
        require_file(path, "results")
        names, rows = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
        for name in read_schema("results")["required"]:
            if name not in names:
                raise InvalidInputError(
                    f"results {path}: column {name!r} is missing; `hetc sweep` and `hetc evaluate` "
                    "write such tables (hetc/evaluation/results.schema.json)"
                )
        if not rows:
            raise InvalidInputError(f"results {path}: no rows below the header")
        tables.append(to_results(rows, f"results {path}, "))
        other = next((one.model for one in tables[-1] if model is not None and one.model != model), None)
        if other is not None:
            raise InvalidInputError(
                f"results {path} are of another model: its sha256 is {_short(other)}, not {_short(model)}"
            )
    return merge_results(tables)


def check_format(path: Path) -> None:
    """Raises `UsageError` for the name of a table that no format is known for.

    Raises:
        RuntimeMissingError: Parquet without pyarrow.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"output {path}: the name must end in {' or '.join(FORMATS)}")
    if path.suffix == ".parquet":
        _import_pyarrow(path)


def write_results(path: Path, rows: Sequence[Mapping[str, Any]], suffix: str) -> None:
    """Writes a table of results.

    Args:
        path: The file, whatever it is called.
        rows: By the columns of `results.schema.json`; a value that isn't finite is left out.
        suffix: Which of `FORMATS` to write.

    Raises:
        RuntimeMissingError: Parquet without pyarrow.
    """
    columns = [name for name in _columns() if any(name in row for row in rows)]
    table = [{name: finite(row.get(name)) for name in columns} for row in rows]
    if suffix == ".parquet":
        _write_parquet(path, table, columns)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(table)


def _columns() -> dict[str, dict[str, Any]]:
    """The schema of each column by its name."""
    schema = read_schema("results")
    return {
        name: {**schema["$defs"].get(column.get("$ref", "").rpartition("/")[2], {}), **column}
        for name, column in schema["properties"].items()
    }


def _kind(column: Mapping[str, Any]) -> str:
    """`number`, `integer`, `boolean` or `string`."""
    kind = column.get("type", "string")
    return str(kind if isinstance(kind, str) else kind[0])


def _read_csv(path: Path) -> tuple[Sequence[str], list[Row]]:
    """The names of the columns, and the rows."""
    columns = _columns()
    # Excel begins its files with a mark that is no part of the first column's name.
    text = read_text(path, "results").removeprefix("\ufeff")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = reader.fieldnames or []
        if len(set(names)) < len(names):
            raise InvalidInputError(f"results {path}: a column is there twice: {', '.join(names)}")
        rows = [_typed(row, columns, f"results {path}, row {number}") for number, row in enumerate(reader, 1)]
    except csv.Error as error:
        raise InvalidInputError(f"results {path}: not a CSV file: {error}") from error
    if not text.endswith("\n"):
        raise InvalidInputError(f"results {path} ends within a line: it seems to have been cut off")
    return names, rows


def _typed(row: Mapping[Any, Any], columns: Mapping[str, Mapping[str, Any]], where: str) -> Row:
    """Texts as what the schema says they are; what is none of that stays text, which the schema refuses."""
    if None in row or None in row.values():
        raise InvalidInputError(f"{where} has another number of fields than the header")
    return {name: _value(text, _kind(columns[name])) for name, text in row.items() if name in columns}


def _value(text: str, kind: str) -> Any:
    if kind == "string":
        return text
    if not text:
        return None
    if kind == "boolean":
        return TRUTHS.get(text.lower(), text)
    try:
        return int(text) if kind == "integer" else float(text)
    except ValueError:
        return text


def _read_parquet(path: Path) -> tuple[Sequence[str], list[Row]]:
    """The names of the columns, and the rows."""
    pyarrow, parquet = _import_pyarrow(path)
    try:
        file = parquet.ParquetFile(path)
        if file.metadata.num_rows > MOST_ROWS:
            raise InvalidInputError(f"results {path}: more than {MOST_ROWS:,} rows")
        known = [name for name in file.schema_arrow.names if name in _columns()]
        rows: list[Row] = file.read(columns=known).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidInputError(f"results {path}: not a Parquet file: {error}") from error
    return known, rows


def _write_parquet(path: Path, table: Sequence[Row], columns: Sequence[str]) -> None:
    pyarrow, parquet = _import_pyarrow(path)
    types = {
        "number": pyarrow.float64(),
        "integer": pyarrow.int64(),
        "boolean": pyarrow.bool_(),
        "string": pyarrow.string(),
    }
    known = _columns()
    fields = [
        pyarrow.field(
            name,
            types[_kind(known[name])],
            metadata={key: known[name][key] for key in ("unit", "title") if key in known[name]},
        )
        for name in columns
    ]
    parquet.write_table(pyarrow.Table.from_pylist(list(table), pyarrow.schema(fields)), path)


def _import_pyarrow(path: Path) -> tuple[Any, Any]:
    with needs("report", f"results {path}: Parquet"):
        return import_module("pyarrow"), import_module("pyarrow.parquet")


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "unknown"
