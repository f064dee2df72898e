"""Folders appear whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetc.base import output
from hetc.base.errors import OutputError, UsageError
from hetc.base.output import held, whole_file, whole_folder
from hetc.base.output_lock import names_beside
from hetc.base.tensors import save_tensors


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


@pytest.mark.parametrize("shared", [False, True])
def test_a_lock_says_whose_it_is_and_does_not_outlive_him(tmp_path: Path, shared: bool) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from hetc.base.output import held\n"
        f"with held(Path(sys.argv[1]), shared={shared}):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    path = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        who = rf"another hetc \(process {other.pid} on {os.uname().nodename}\)"
        with pytest.raises(UsageError, match=who), held(path):
            pass
        other.kill()
    with held(path):
        assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())


def test_what_is_shared_is_free_when_all_have_left(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with held(path, shared=True):
        with held(path, shared=True):
            pass
        with pytest.raises(UsageError), held(path):
            pass
    with held(path), pytest.raises(UsageError), held(path, shared=True):
        pass
    with pytest.raises(OutputError, match="not a folder"), held(tmp_path / "missing" / "out"):
        pass


def test_a_killed_process_leaves_no_bundle_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from hetc.base.output import whole_folder\n"
        "with whole_folder(Path(sys.argv[1]), marker='done') as folder:\n"
        "    (folder / 'half').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "out"], check=False)
    assert not (tmp_path / "out").exists()
    assert all(entry.name.startswith(".hetc-") for entry in tmp_path.iterdir())
    make(tmp_path / "out", "whole")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_second_writer_is_told_so(tmp_path: Path) -> None:
    with whole_file(tmp_path / "out") as first:
        first.write_text("1")
        with pytest.raises(UsageError, match="being written by another hetc"), whole_file(tmp_path / "out"):
            raise AssertionError
    assert (tmp_path / "out").read_text() == "1"
    with pytest.raises(UsageError, match="exists"), whole_file(tmp_path / "out"):
        raise AssertionError
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_outputs_of_similar_names_do_not_meet(tmp_path: Path) -> None:
    with whole_file(tmp_path / "out") as one, whole_file(tmp_path / "out.1") as other:
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "out").read_text() == "one"
    assert (tmp_path / "out.1").read_text() == "other"


def test_nothing_is_written_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link planted at the staging name, a link as the output, and one that leads nowhere."""
    (tmp_path / "precious").write_text("precious")
    monkeypatch.setattr("secrets.token_hex", lambda size: "guessed")
    planted = names_beside(tmp_path / "out").staging
    planted.symlink_to("precious")
    with whole_file(tmp_path / "out") as staging:
        staging.write_text("new")
    (tmp_path / "link").symlink_to("precious")
    (tmp_path / "nowhere").symlink_to("missing")
    for name in ("link", "nowhere"):
        with pytest.raises(UsageError, match="exists"), whole_file(tmp_path / name):
            raise AssertionError
        with whole_file(tmp_path / name, force=True) as staging:
            staging.write_text("new")
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "precious").read_text() == "precious"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "nowhere", "out", "precious"]


def test_force_replaces_a_link_to_a_folder_itself(tmp_path: Path) -> None:
    make(tmp_path / "old", "old")
    (tmp_path / "out").symlink_to("old")
    make(tmp_path / "out", "new", force=True)
    assert (tmp_path / "old" / "done").read_text() == "old"
    assert not (tmp_path / "out").is_symlink()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["old", "out"]


def test_without_a_swap_a_kill_between_the_renames_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_swap", lambda first, second: False)
    make(tmp_path / "out", "old")
    make(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out" / "done").read_text() == "new"
    (tmp_path / "out").rename(names_beside(tmp_path / "out").replaced)  # as a kill would leave it
    with pytest.raises(UsageError, match="exists"):
        make(tmp_path / "out", "other")
    assert (tmp_path / "out" / "done").read_text() == "new"


@pytest.mark.parametrize("write", [whole_file, lambda path: whole_folder(path, marker=None)])
def test_a_path_that_cannot_be_written_is_known_before_the_work(tmp_path: Path, write: Any) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file/out", "x" * 300):
        with pytest.raises(OutputError, match="cannot be written"), write(tmp_path / name):
            raise AssertionError
    with write(tmp_path / ("x" * 255)):
        pass
    assert sorted(len(entry.name) for entry in tmp_path.iterdir()) == [4, 255]


def test_parents_that_were_made_for_nothing_go_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "a" / "b" / "out", marker=None):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    said = pytest.raises(OutputError, match=r"output .*out cannot be written: No space left on device")
    with said, whole_file(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_errors_of_other_files_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "out"):
        (tmp_path / "input").read_text()


def test_the_lock_ends_with_its_holder_however_that_ends(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from hetc.base.output import whole_file\n"
        "with whole_file(Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "out"], check=False)
    with whole_file(tmp_path / "out") as staging:
        staging.write_text("whole")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_modes_are_ordinary(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    with whole_file(tmp_path / "out") as staging:
        save_tensors(staging, {"x": np.zeros(1)}, {})
    assert (tmp_path / "out").stat().st_mode == ordinary.stat().st_mode
