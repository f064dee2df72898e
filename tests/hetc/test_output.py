"""Folders appear whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hetc.errors import UsageError
from hetc.output import whole_folder


def make(path: Path, text: str, *, force: bool = False) -> None:
    with whole_folder(path, marker="done", force=force) as folder:
        (folder / "done").write_text(text)


def test_appears_at_the_end(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "deep" / "out", marker="done") as folder:
        (folder / "done").write_text("1")
        assert not (tmp_path / "deep" / "out").exists()
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["out"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "out", marker="done"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_needs_force(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    with pytest.raises(UsageError, match="--force"):
        make(tmp_path / "out", "new")
    assert (tmp_path / "out" / "done").read_text() == "old"
    make(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out" / "done").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_force_replaces_only_its_own_kind(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("dear")
    with pytest.raises(UsageError, match="no done"):
        make(tmp_path / "letters", "new", force=True)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "dear"


def test_a_killed_process_leaves_no_bundle_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from hetc.output import whole_folder\n"
        "with whole_folder(Path(sys.argv[1]), marker='done') as folder:\n"
        "    (folder / 'half').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "out"], check=False)
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.iterdir())) == 1
    make(tmp_path / "out", "whole")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
