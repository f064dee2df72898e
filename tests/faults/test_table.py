"""docs/faults.md names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

from places import ROOT


def test_every_row_has_tests_that_exist() -> None:
    files: dict[str, Path] = {file.name: file for file in (ROOT / "tests").rglob("test_*.py")}
    rows = [line for line in (ROOT / "docs" / "faults.md").read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| #", "| what |"))]
    assert len(rows) > 55
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", row.rsplit("|", 2)[1])
        assert named, row
        for file, test in named:
            assert file in files, row
            assert not test or f"def {test}(" in files[file].read_text(), f"{file}::{test}"
