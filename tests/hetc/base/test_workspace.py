"""Temporary folders: of one process, and gone after it, however it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hetc.base.workspace import workspace

SCRIPT = """
import os, signal
from hetc.base.workspace import workspace
with workspace() as folder:
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_goes_at_the_end_and_what_a_kill_left_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", SCRIPT], check=False, env={"TMPDIR": str(tmp_path)})
    assert killed.returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    with workspace() as first, workspace() as second:
        (first / "file").write_text("1")
        (second / "file").write_text("2")
        assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []
