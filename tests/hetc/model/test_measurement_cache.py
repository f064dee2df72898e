"""What was measured once is known again, as long as the file is the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest
from models import moe_model

import hetc
from hetc.model import measurement_cache, weights
from hetc.model.load import load_model
from hetc.model.measurement_cache import cache_folder
from hetc.passes.analysis.find_units import find_units
from hetc.passes.analysis.score_experts import score_experts

YEAR_2020 = 1_577_836_800


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(measurement_cache, "LEAST_SIZE", 1)
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder / "model.onnx", seed=0)
    os.utime(folder / "weights.bin", (YEAR_2020, YEAR_2020))
    return folder / "model.onnx"


def write(path: Path, *, seed: int) -> None:
    ir.save(moe_model(hidden=32, inter=16, seed=seed), path, external_data="weights.bin")


def scores(model: Path, name: str = "maxnn") -> dict[str, float]:
    loaded = load_model(model).model
    return score_experts(loaded, find_units(loaded), name)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read from beginning to end."""
    files: list[Path] = []
    measure = weights.measure_file

    def counted(path: Path, *arguments: object) -> object:
        files.append(path)
        return measure(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(weights, "measure_file", counted)
    return files


def test_a_second_score_reads_nothing(model: Path, reads: list[Path]) -> None:
    first = scores(model)
    assert reads == [model.parent / "weights.bin"]
    other = scores(model, "maxnn-down-inputs")
    assert scores(model) == first != other
    assert len(reads) == 1


def rewrite(model: Path) -> None:
    write(model, seed=1)


def touch(model: Path) -> None:
    os.utime(model.parent / "weights.bin", (YEAR_2020, YEAR_2020 + 1))


def put_back(model: Path) -> None:
    """Other bytes in the same inode, size and time of modification."""
    file = model.parent / "weights.bin"
    write(model, seed=1)
    data = file.read_bytes()
    write(model, seed=0)
    os.utime(file, (YEAR_2020, YEAR_2020))
    scores(model)  # whatever it took to get here, it is known now
    with file.open("r+b") as opened:
        opened.write(data)
    os.utime(file, (YEAR_2020, YEAR_2020))


def grow(model: Path) -> None:
    with (model.parent / "weights.bin").open("ab") as file:
        file.write(b"!")
    os.utime(model.parent / "weights.bin", (YEAR_2020, YEAR_2020))


def copy(model: Path) -> None:
    """Same size and time, another inode."""
    file = model.parent / "weights.bin"
    data = file.read_bytes()
    file.rename(file.with_suffix(".old"))
    file.write_bytes(data)
    os.utime(file, (YEAR_2020, YEAR_2020))


@pytest.mark.parametrize("change", [rewrite, touch, grow, copy])
def test_a_stale_entry_is_not_used(model: Path, reads: list[Path], change: Callable[[Path], None]) -> None:
    before = scores(model)
    change(model)
    assert (scores(model) == before) == (change is not rewrite)
    assert len(reads) == 2


def test_weights_changed_behind_their_times(model: Path) -> None:
    before = scores(model)
    put_back(model)
    assert scores(model) != before


def test_a_pipe_in_the_cache_is_no_entry(model: Path) -> None:
    before = scores(model)
    (entry,) = cache_folder().iterdir()
    entry.unlink()
    os.mkfifo(entry)
    assert scores(model) == before


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b"0\n[]", "flip", "cut"])
def test_a_damaged_entry_is_not_used(model: Path, reads: list[Path], damage: bytes | str) -> None:
    before = scores(model)
    (entry,) = cache_folder().iterdir()
    data = entry.read_bytes()
    broken = {"flip": data.replace(b'"FLOAT", 16', b'"FLOAT", 17', 1), "cut": data[: len(data) // 2]}
    entry.write_bytes(broken[damage] if isinstance(damage, str) else damage)
    assert entry.read_bytes() != data
    assert scores(model) == before
    assert len(reads) == 2
    assert entry.read_bytes() == data


def test_a_file_that_is_still_warm_is_not_kept(model: Path, reads: list[Path]) -> None:
    os.utime(model.parent / "weights.bin")
    scores(model)
    scores(model)
    assert len(reads) == 2
    assert not cache_folder().exists()


def test_small_files_are_read_again(model: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement_cache, "LEAST_SIZE", 1 << 20)
    scores(model)
    assert not cache_folder().exists()


def test_a_cache_that_cannot_be_written(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert scores(model)


def test_links_that_compile_makes_and_removes_are_no_change(
    model: Path, reads: list[Path], tmp_path: Path
) -> None:
    for _ in range(3):
        hetc.compile(model, tmp_path / "linked.hetc", link=True, force=True)
    assert (tmp_path / "linked.hetc" / "weights" / "weights.bin").samefile(model.parent / "weights.bin")
    assert reads == [model.parent / "weights.bin"]
