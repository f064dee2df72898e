"""Shards of a sweep do each job once, hurt nobody beside them, and make one table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import hetc
from sweep_files import SMALLEST, written

from hetc.base.errors import UsageError
from hetc.base.output import held
from hetc.evaluation import sweep as sweeping
from hetc.evaluation.results import Row
from hetc.evaluation.sweep import sweep, sweep_shard
from hetc.evaluation.sweep_jobs import Job, Work
from hetc.evaluation.sweep_shards import Shard
from hetc.evaluation.sweep_spec import Sweep, load_sweep


@pytest.fixture
def spec(tmp_path: Path) -> Sweep:
    """Three jobs of one measurement."""
    return load_sweep(written(tmp_path, SMALLEST.replace("seeds = 1", "seeds = 3")))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that sweeps measure, or would: here they compile nothing, and find no rows."""
    jobs: list[Job] = []

    def measure_all(work: Work, asked: Sequence[Job], *_: Any) -> Iterator[tuple[Job, list[Row]]]:
        jobs.extend(asked)
        return ((job, []) for job in asked)

    monkeypatch.setattr(sweeping, "measure_all", measure_all)
    monkeypatch.setattr(sweeping, "write_plans", lambda *_: None)
    return jobs


@pytest.mark.parametrize("jobs", [0, 1, 15, 16, 21])
def test_shards_share_all_jobs_evenly(jobs: int) -> None:
    shares = [Shard(number, 16).of(range(jobs)) for number in range(1, 17)]
    assert Counter(job for share in shares for job in share) == Counter(range(jobs))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/16", "17/16", "0/0", "-1/2", "1", "a/b", "1/2/3", "", "\uff11/2"])
def test_no_such_shard(tmp_path: Path, text: str) -> None:
    done = hetc("sweep", written(tmp_path), "-o", tmp_path / "results.csv", "--shard", text)
    assert done.returncode == 2 and f"shard {text!r} is not" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.toml"]


def test_shards_and_a_merge_are_one_sweep(spec: Sweep, tmp_path: Path) -> None:
    output, partial = tmp_path / "results.csv", tmp_path / "results.csv.partial"
    with pytest.raises(UsageError, match=r"3 of 3 jobs .* are not finished: .* without --merge"):
        sweep(spec, output, merge=True)
    assert not partial.exists()
    assert sweep_shard(spec, output, "2/2", workers=1) == 2
    before = {file: file.stat().st_mtime_ns for file in partial.glob("*.json")}
    assert len(before) == 1
    with pytest.raises(UsageError, match="2 of 3 jobs"):
        sweep(spec, output, merge=True)
    assert not output.exists()
    assert sweep_shard(spec, output, "2/2", workers=1) == 2
    assert sweep_shard(spec, output, "1/2", workers=1) == 0
    assert before.items() <= {file: file.stat().st_mtime_ns for file in partial.glob("*.json")}.items()
    assert sweep(spec, output, merge=True) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.csv", "sweep.toml"]
    sweep(spec, tmp_path / "whole.csv", workers=1)
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_merge_says_what_else_is_there(spec: Sweep, tmp_path: Path) -> None:
    partial = tmp_path / "results.csv.partial"
    partial.mkdir()
    (partial / "0123456789abcdef.json").write_text("[]")
    with pytest.raises(UsageError, match="has 1 of other inputs, versions or kinds of device"):
        sweep(spec, tmp_path / "results.csv", merge=True)


def test_the_command_says_what_is_left(tmp_path: Path, measured: list[Job]) -> None:
    spec, output = written(tmp_path, SMALLEST.replace("seeds = 1", "seeds = 2")), tmp_path / "results.csv"
    done = hetc("sweep", spec, "-o", output, "--jobs", 1, "--shard", "2/2")
    assert done.returncode == 0 and "jobs left to other shards: 1" in done.stderr
    done = hetc("sweep", spec, "-o", output, "--jobs", 1, "--shard", "1/2")
    assert done.returncode == 0 and f"next: hetc sweep {spec} -o {output} --merge" in done.stderr
    assert hetc("sweep", spec, "-o", output, "--merge", "--shard", "1/2").returncode == 2
    assert sorted(job.seed for job in measured) == [0, 1]


def test_one_shard_runs_once_beside_others(spec: Sweep, tmp_path: Path, measured: list[Job]) -> None:
    output, partial = tmp_path / "results.csv", tmp_path / "results.csv.partial"
    partial.mkdir()
    who = f"process {os.getpid()} on {os.uname().nodename}"
    with held(partial, shared=True), held(partial / "shard 1 of 3"):  # as the first shard does
        with pytest.raises(UsageError, match=rf"shard 1 of 3 is being written by another hetc \({who}\)"):
            sweep_shard(spec, output, "1/3", workers=1)
        with pytest.raises(UsageError, match=rf"written by another hetc \({who}\)"):
            sweep(spec, output, workers=1)
        assert sweep_shard(spec, output, "2/3", workers=1) == 2
    with held(partial), pytest.raises(UsageError, match=rf"written by another hetc \({who}\)"):
        sweep_shard(spec, output, "3/3", workers=1)
    assert [job.seed for job in measured] == [1]


@pytest.mark.usefixtures("measured")
def test_shards_leave_the_plans_of_others(spec: Sweep, tmp_path: Path) -> None:
    """Of their own they remove what a kill left; a complete table removes all."""
    output, partial = tmp_path / "results.csv", tmp_path / "results.csv.partial"
    own, other = partial / "plans-1-of-3-killed", partial / "plans-2-of-3-runs"
    for folder in (own, other):
        folder.mkdir(parents=True)
    (partial / ".hetc-killed.lock").touch()
    sweep_shard(spec, output, "1/3", workers=1)
    assert other.is_dir() and not own.exists()
    sweep(spec, output, workers=1)
    assert not partial.exists()


def test_a_shard_is_estimated(tmp_path: Path) -> None:
    spec = written(tmp_path, SMALLEST.replace("seeds = 1", "seeds = 5"))
    done = hetc("sweep", spec, "--dry-run", "--jobs", "1", "--shard", "2/2")
    assert "2 programmings of the weights in shard 2/2 with 1 measurement of 128 tokens each" in done.stdout
