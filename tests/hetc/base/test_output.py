"""Folders appear whole or not at all."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from hetc.base.errors import UsageError
from hetc.base.output import bring_files, whole_folder


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
        "from hetc.base.output import bring_files, whole_folder\n"
        "with whole_folder(Path(sys.argv[1]), marker='done') as folder:\n"
        "    (folder / 'half').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "out"], check=False)
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.iterdir())) == 1
    make(tmp_path / "out", "whole")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_links_go_to_what_a_symbolic_link_means(tmp_path: Path) -> None:
    """As in the hub's cache, where a snapshot's files lead to blobs."""
    (tmp_path / "blob").write_bytes(b"weights")
    (tmp_path / "model.safetensors").symlink_to("blob")
    bring_files({tmp_path / "model.safetensors": tmp_path / "out" / "model.safetensors"}, link=True)
    target = tmp_path / "out" / "model.safetensors"
    assert not target.is_symlink()
    assert target.samefile(tmp_path / "blob")


def test_a_link_across_file_systems_names_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    (tmp_path / "weights").write_bytes(b"weights")
    monkeypatch.setattr("os.link", refuse)
    with pytest.raises(UsageError, match=r"cross-device link.*without --link"):
        bring_files({tmp_path / "weights": tmp_path / "out"}, link=True)


@pytest.mark.parametrize("within", [True, False])
def test_copies_with_and_without_the_kernels_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, within: bool
) -> None:
    if not within:
        monkeypatch.delattr("os.copy_file_range", raising=False)
    monkeypatch.setattr("hetc.base.output.COPY_BLOCK", 1000)
    data = bytes(range(256)) * 99
    (tmp_path / "weights").write_bytes(data)
    bring_files({tmp_path / "weights": tmp_path / "out"}, link=False)
    assert (tmp_path / "out").read_bytes() == data
