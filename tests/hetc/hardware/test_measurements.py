"""Tables of measured conductances: units, columns, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetc.base.errors import InvalidInputError, UsageError
from hetc.hardware.measurements import read_measurements


def write(folder: Path, text: str) -> Path:
    (folder / "measured.csv").write_text(text)
    return folder / "measured.csv"


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("target,read\n0,0.1\n1,0.9\n", {}),
        ("device, read, target\n7, 0.1, 0\n8, 0.9, 1\n", {}),
        ("target,read,time\n0,2.5,20\n25,22.5,20\n", {"unit": "microsiemens", "g_max": 25.0}),
        ("target,read\n0,2.5e-6\n25e-6,22.5e-6\n", {"unit": "siemens", "g_max": 25.0}),
        ("\ufefftarget,read\n0,0.1\n1,0.9\n", {}),
        ("target,read\n5,7\n25,23\n", {"unit": "microsiemens", "g_max": 25.0, "g_min": 5.0}),
        ("target,read\n0.2,0.28\n1,0.92\n", {"g_min": 0.2}),
    ],
)
def test_units_and_columns(tmp_path: Path, text: str, choices: dict[str, Any]) -> None:
    measured = read_measurements(write(tmp_path, text), **choices)
    np.testing.assert_allclose(measured.target, [0, 1], atol=1e-12)
    np.testing.assert_allclose(measured.read, [0.1, 0.9], atol=1e-12)
    np.testing.assert_array_equal(measured.time, [20, 20] if "time" in text else [0, 0])
    assert measured.offset == pytest.approx(0.25 if "g_min" in choices else 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'target'"),
        ("target,time\n1,2\n", "no column 'read'"),
        ("target,read\n", "no line of numbers"),
        ("target,read\n0.5,high\n", 'line 2: read is "high"; it must be a number'),
        ("target,read\n0.5\n", "line 2: read is null"),
        ("target,read\n0,5,0,52\n", "line 2 has 4 fields, and the first line 2"),
        ("target,read\n0.5,nan\n", 'line 2: read is "nan"'),
        ("target,read\n0.5,0.5\n25,24\n", "target 25 lies beyond g_max"),
        ("target,read,time\n0.5,0.5,-1\n", "time -1 is below 0"),
        ("target,read\n" + "1" * 200_000, "is no CSV table: field larger"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_measurements(write(tmp_path, text))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"unit": "siemens"}, "--g-max"),
        ({"g_max": 25.0}, "leave --g-max out"),
        ({"unit": "microsiemens", "g_max": 5.0, "g_min": 9.0}, "0 <= g_min < g_max"),
        ({"unit": "microsiemens", "g_max": float("nan")}, "must hold"),
    ],
)
def test_units_need_their_scale(tmp_path: Path, choices: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_measurements(write(tmp_path, "target,read\n0,0\n1,1\n"), **choices)
