"""The README's picture is what `docs/overview.py` draws."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from places import ROOT

matplotlib = pytest.importorskip("matplotlib")


@pytest.mark.slow
def test_the_picture_is_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["overview.py", str(tmp_path)])
    runpy.run_path(str(ROOT / "docs" / "overview.py"), run_name="__main__")
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == ["overview-narrow.svg", "overview.svg"]
    for name in drawn:
        kept = (ROOT / "docs" / "figures" / name).read_text("utf-8")
        (version,) = re.findall(r"Matplotlib v([\d.]+)", kept)
        if version == matplotlib.__version__:  # others lay out a little differently
            assert (tmp_path / name).read_text("utf-8") == kept, "run python docs/overview.py"
