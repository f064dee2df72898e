"""What was never written is known without reading it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hetc.base.holes import is_hole

BLOCK = 1 << 16


@pytest.mark.parametrize(
    ("offset", "length", "hole"),
    [
        (0, BLOCK, True),
        (0, 4 * BLOCK, False),
        (2 * BLOCK, 1, False),
        (3 * BLOCK, BLOCK, True),
        (3 * BLOCK, BLOCK + 1, False),
        (5 * BLOCK, 1, False),
        (0, 0, False),
    ],
)
def test_holes(tmp_path: Path, offset: int, length: int, hole: bool) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(4 * BLOCK)
        file.seek(2 * BLOCK)
        file.write(b"x")
    with path.open("rb") as file:
        assert is_hole(file.fileno(), offset, length) == hole
