"""Measured conductances: the CSV table that `hetc profiles fit` reads, in the units of noise models."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.reading import read_text
from hetc.base.schema import shown

__all__ = ["UNITS", "Measurements", "Unit", "read_measurements"]

Unit = Literal["fraction", "microsiemens", "siemens"]
UNITS: tuple[Unit, ...] = get_args(Unit)
"""What the numbers of a table count in: fractions of g_max, or a unit of conductance."""
REST = "fields beyond the first line's"
PER_SIEMENS = {"microsiemens": 1e6, "siemens": 1.0}

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Measurements:
    """Readings of devices, in units of g_max - g_min above g_min.

    Attributes:
        target: ``[n]`` what each device was programmed to.
        read: ``[n]`` what it was read as.
        time: ``[n]`` seconds between programming and the reading.
        offset: g_min / (g_max - g_min): a device without conductance is read as -offset.
    """

    target: Float64
    read: Float64
    time: Float64
    offset: float = 0.0


def read_measurements(
    path: Path, *, unit: Unit = "fraction", g_max: float | None = None, g_min: float = 0.0
) -> Measurements:
    """Reads a CSV table with the columns `target`, `read` and, if there is one, `time`.

    Args:
        path: The table; its first line names the columns, in any order. Others are not looked at.
        unit: What `target` and `read` count in.
        g_max: Conductance in uS of a weight as large as its scale; for fractions None or 1.
        g_min: Conductance of a device at 0, in uS, or as a fraction of g_max.

    Raises:
        UsageError: No such file, or a g_max or g_min that doesn't fit the unit.
        InvalidInputError: A column is missing, or a line holds no number, a negative time or a target
            beyond g_max.
    """
    if unit != "fraction" and g_max is None:
        raise UsageError(f"conductances in {unit} need the largest one, in uS: --g-max")
    if unit == "fraction" and g_max not in (None, 1.0):
        raise UsageError("fractions are of g_max already: leave --g-max out, or say --unit microsiemens")
    largest = 1.0 if g_max is None else g_max
    if not (0 < largest < math.inf and 0 <= g_min < largest):
        raise UsageError(f"--g-max is {largest:g} and --g-min {g_min:g}; 0 <= g_min < g_max must hold")
    where = f"measurements {path}"
    try:
        values = _columns(read_text(path, "measurements"), where)
    except csv.Error as error:
        raise InvalidInputError(f"{where} is no CSV table: {error}") from error
    to_micro = 1.0 if unit == "fraction" else 1e6 / PER_SIEMENS[unit]
    window = largest - g_min
    target, read = ((values[:, column] * to_micro) for column in (0, 1))
    if (beyond := np.abs(target) > largest * (1 + 1e-6)).any():
        first = int(np.flatnonzero(beyond)[0])
        raise InvalidInputError(
            f"{where}: target {values[first, 0]:g} lies beyond g_max ({largest:g}"
            f"{'' if unit == 'fraction' else ' uS'}); --unit says what the table counts in"
        )
    time = values[:, 2]
    if (time < 0).any():
        raise InvalidInputError(f"{where}: time {time.min():g} is below 0")
    return Measurements((target - g_min) / window, (read - g_min) / window, time, g_min / window)


def _columns(text: str, where: str) -> Float64:
    """``[n, 3]`` target, read and time; without a time, 0."""
    table = csv.DictReader(io.StringIO(text), restkey=REST, skipinitialspace=True)
    names = [name.strip() for name in table.fieldnames or []]
    for name in ("target", "read"):
        if name not in names:
            raise InvalidInputError(
                f"{where}: no column {name!r}; the first line must name the columns target, read and time"
            )
    table.fieldnames = names
    columns = [name for name in ("target", "read", "time") if name in names]
    lines = []
    for line in table:
        if REST in line:
            raise InvalidInputError(
                f"{where}, line {table.line_num} has {len(names) + len(line[REST])} fields, and the first "
                f"line {len(names)}; fields are parted by commas, and decimals have points"
            )
        lines.append([_number(line.get(name), name, where, table.line_num) for name in columns])
    if not lines:
        raise InvalidInputError(f"{where} has no line of numbers")
    values = np.zeros((len(lines), 3))
    values[:, : len(columns)] = lines
    return values


def _number(text: str | None, name: str, where: str, line: int) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidInputError(f"{where}, line {line}: {name} is {shown(text)}; it must be a number")
    return number
