"""Finished jobs are good for just the inputs that they were measured on, and workers end with their sweep."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import SAMPLE
from sweep_files import SMALLEST, written

from hetc.evaluation import origin
from hetc.evaluation.sweep_prepared import job_files, prepare
from hetc.evaluation.sweep_spec import load_sweep

PROFILE = """
name = "mine"
[noise]
model = "mine"
form = "gaussian"
sigma = [0.02, 0.05]
"""


def keys(spec: Path) -> set[Path]:
    return set(job_files(prepare(load_sweep(spec)), Path("partial")).values())


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def other_weights(file: Path) -> None:
    """The same graph on other numbers."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A sweep with everything that a sweep may name, in a folder of its own."""
    pytest.importorskip("lm_eval")
    shutil.copytree(SAMPLE, tmp_path / "model")
    shutil.copytree(SAMPLE, tmp_path / "checkpoint")
    shutil.copytree(SAMPLE.parent / "tasks", tmp_path / "tasks")
    (tmp_path / "mine.toml").write_text(PROFILE)
    text = SMALLEST.replace(str(SAMPLE), "model") + (
        'profile = "mine.toml"\ntasks = ["stdlib_next_line"]\ninclude_path = "tasks"\n'
        'checkpoint = "checkpoint"\n'
    )
    return written(tmp_path, text)


CHANGES: dict[str, Callable[[Path], object]] = {
    "profile": lambda folder: edit(folder / "mine.toml", "0.05", "0.06"),
    "scale of the noise": lambda folder: edit(folder / "mine.toml", "sigma", "scale = 2.0\nsigma"),
    "task file": lambda folder: edit(folder / "tasks" / "next_line.yaml", "task:", "# another\ntask:"),
    "file of a task": lambda folder: edit(folder / "tasks" / "heldout.py", "import", "# another\nimport"),
    "checkpoint's weights": lambda folder: other_weights(folder / "checkpoint" / "model.safetensors"),
    "checkpoint's config": lambda folder: edit(folder / "checkpoint" / "config.json", "{", "{ "),
    "model's weights": lambda folder: other_weights(folder / "model" / "model.safetensors"),
    "model's tokenizer": lambda folder: edit(folder / "model" / "tokenizer.json", "{", "{ "),
    "model's configuration": lambda folder: edit(folder / "model" / "config.json", "{", "{ "),
    "model's settings for generation": lambda folder: edit(folder / "model" / "genai_config.json", "{", "{ "),
    "data": lambda folder: np.savez(folder / "model" / "heldout.npz", tokens=np.arange(500)),
    "limit": lambda folder: edit(folder / "sweep.toml", "seeds = 1", "seeds = 1\nlimit = 3"),
    "window": lambda folder: edit(folder / "sweep.toml", "window = 64", "window = 65"),
    "pins": lambda folder: edit(folder / "sweep.toml", "seeds = 1", 'seeds = 1\nanalog = ["lm_head"]'),
    "runtime": lambda folder: edit(folder / "sweep.toml", 'checkpoint = "checkpoint"', ""),
}


def test_equal_inputs_have_equal_keys(spec: Path) -> None:
    assert keys(spec) == keys(spec)


def test_another_input_has_another_key(spec: Path) -> None:
    """Each change comes on top of those before it."""
    seen = keys(spec)
    for name, change in CHANGES.items():
        change(spec.parent)
        found = keys(spec)
        assert not found & seen, name
        seen |= found


def test_another_version_has_another_key(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = keys(spec)
    known = origin._version
    for package in ("hetc", "lm_eval", "torch", "transformers", "numpy"):
        with monkeypatch.context() as patch:
            patch.setattr(origin, "__version__", "9.9" if package == "hetc" else origin.__version__)
            patch.setattr(origin, "_version", lambda name, one=package: "9.9" if name == one else known(name))
            found = keys(spec)
        assert not found & seen, package
        seen |= found


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are found in /proc")
def test_workers_end_with_a_sweep_that_is_killed(tmp_path: Path) -> None:
    spec = written(tmp_path, SMALLEST.replace("seeds = 1", "seeds = 400"))
    command = [sys.executable, "-m", "hetc", "sweep", spec, "-o", tmp_path / "r.csv", "--jobs", "2"]
    sweep = subprocess.Popen(list(map(str, command)), env={**os.environ, "PYTHONPATH": ""})
    partial = tmp_path / "r.csv.partial"
    while not list(partial.glob("*.json")):  # work has begun
        assert sweep.poll() is None
        time.sleep(0.05)
    workers = children(sweep.pid)
    assert len(workers) >= 2
    sweep.send_signal(signal.SIGKILL)
    sweep.wait()
    while any(map(running, workers)):  # the test's own time limit ends it
        time.sleep(0.1)
