"""Sweeps: what a file asks for, what is measured once, and that nothing is lost or counted twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import SAMPLE, hetc

from hetc.base.errors import InvalidInputError, UsageError
from hetc.compiler.compile import compile
from hetc.evaluation import sweep as sweeping
from hetc.evaluation.likelihood import mean_loss, session_forward
from hetc.evaluation.results import read_results
from hetc.evaluation.sweep import estimate_sweep
from hetc.evaluation.sweep import sweep as run_sweep
from hetc.evaluation.sweep_jobs import Job, jobs_of, placements_of
from hetc.evaluation.sweep_spec import load_sweep

SPEC = f"""
model = "{SAMPLE / "model.onnx"}"
data = "{SAMPLE / "heldout.npz"}"
window = 64
windows = 2
scores = ["maxnn", "random"]
fractions = [0, 0.5, 1]
noise_scales = [0, 8]
seeds = 2
"""


def written(folder: Path, text: str = SPEC) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds =", "seed =", "unknown key 'seed'"),
        ("seeds = 2", 'seeds = "2"', "seeds has '2', not a int"),
        ("[0, 0.5, 1]", "0.5", "fractions is 0.5, not a list"),
        ("[0, 0.5, 1]", "[true]", "fractions has True"),
        ("window = 64", 'rankings = ["expert"]', "known are layer, model"),
        ("model =", "# model =", "model is missing"),
        ("window = 64", "window =", "is not TOML"),
    ],
)
def test_bad_files_are_refused_by_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_sweep(written(tmp_path, SPEC.replace(old, new)))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_sweep(tmp_path / "none.toml")
    with pytest.raises(UsageError, match=r"gone\.npz is not there"):
        load_sweep(written(tmp_path, SPEC.replace("heldout", "gone")))
    with pytest.raises(UsageError, match="between 0 and 1"):
        load_sweep(written(tmp_path, SPEC.replace("0.5", "1.5")))


def test_without_noise_one_seed_is_measured(tmp_path: Path) -> None:
    sweep = load_sweep(written(tmp_path))
    assert jobs_of(sweep) == [Job("pcm", 0, 0), Job("pcm", 8, 0), Job("pcm", 8, 1)]
    assert [(placed.label, placed.by_seed) for placed in placements_of(sweep)] == [
        ("maxnn", False),
        ("random", True),
    ]
    kinds_alone = SPEC.replace("[0, 0.5, 1]", "[]") + 'kinds = ["expert", "attention"]\n'
    placements = placements_of(load_sweep(written(tmp_path, kinds_alone)))
    assert [(placed.kind, placed.fractions) for placed in placements] == [
        ("expert", (0,)),
        ("attention", (1,)),
    ]


def test_sweep_of_the_sample_is_one_that_loads() -> None:
    sweep = load_sweep(SAMPLE.parent / "sweeps" / "tiny_moe.toml")
    assert sweep.model == SAMPLE / "model.onnx"
    assert len(jobs_of(sweep)) * sum(len(placed.fractions) for placed in placements_of(sweep)) == 160


def test_results_are_those_of_sessions(tmp_path: Path) -> None:
    text = SPEC + 'rankings = ["layer", "model"]\nkinds = ["none", "expert", "attention"]\n'
    sweep = load_sweep(written(tmp_path, text))
    output = tmp_path / "results.parquet"
    assert run_sweep(sweep, output, workers=2) == 3 * (4 * 3 + 3) * 2
    results = [result for result in read_results(output) if result.metric == "loss"]
    found = {
        (result.score, result.kind, result.fraction, result.noise_scale, result.seed): result.value
        for result in results
    }
    assert len(found) == len(results)
    bundle = compile(SAMPLE / "model.onnx", tmp_path / "bundle", analog=["*.attention"], digital_frac=1)
    windows = np.load(SAMPLE / "heldout.npz")["tokens"][:128].reshape(2, 64)
    expected = mean_loss(session_forward(bundle.session(seed=1, noise_scale=8, threads=1)), windows)
    assert found["maxnn", "attention", 1, 8, 1] == expected
    bundle = compile(SAMPLE / "model.onnx", tmp_path / "ranked", ranking="model", digital_frac=0)
    session = bundle.session(seed=1, noise_scale=8, digital_frac=0.5, threads=1)
    assert found["maxnn over the model", "", 0.5, 8, 1] == mean_loss(session_forward(session), windows)
    assert found["random", "", 0, 8, 1] == found["maxnn", "expert", 0, 8, 1]
    assert found["random", "", 0.5, 8, 1] != found["maxnn", "", 0.5, 8, 1]
    assert found["maxnn", "none", 1, 8, 0] == found["maxnn", "none", 1, 8, 1] == found["maxnn", "", 1, 0, 0]


def test_a_stopped_sweep_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = load_sweep(written(tmp_path, SPEC.replace("[0, 0.5, 1]", "[0.5]")))
    measure: Callable[..., Iterator[Any]] = sweeping._measure_all
    measured: list[Job] = []

    def until_stopped(*arguments: Any) -> Iterator[Any]:
        for job, rows in measure(*arguments):
            measured.append(job)
            yield job, rows
            if len(measured) == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(sweeping, "_measure_all", until_stopped)
    output = tmp_path / "results.csv"
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, output, workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.csv.partial", "sweep.toml"]
    assert len(list((tmp_path / "results.csv.partial").iterdir())) == 1
    run_sweep(sweep, output, workers=1)
    assert sorted(measured, key=repr) == sorted(jobs_of(sweep), key=repr)
    monkeypatch.undo()
    run_sweep(sweep, tmp_path / "whole.csv", workers=1)
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not (tmp_path / "results.csv.partial").exists()


def test_output_of_another_format_or_that_exists(tmp_path: Path) -> None:
    sweep = load_sweep(written(tmp_path))
    with pytest.raises(UsageError, match=r"\.parquet or \.csv"):
        run_sweep(sweep, tmp_path / "results.json")
    (tmp_path / "results.csv").write_text("kept")
    with pytest.raises(UsageError, match="--force"):
        run_sweep(sweep, tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_text() == "kept"
    with pytest.raises(UsageError, match="expected-loss"):
        other = load_sweep(written(tmp_path, SPEC.replace("maxnn", "expected-loss")))
        run_sweep(other, tmp_path / "other.csv")


def test_command_says_how_long_it_would_take(tmp_path: Path) -> None:
    done = hetc("sweep", written(tmp_path), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "3 programmings of the weights, at most 18 measurements of 128 tokens" in done.stdout
    assert hetc("sweep", written(tmp_path)).returncode == 2


def test_torch_measures_what_bundles_do(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    text = SPEC.replace("windows = 2", "windows = 16").replace("seeds = 2", "seeds = 1")
    text = text.replace("[0, 0.5, 1]", "[0, 0.5]")
    text += 'kinds = ["all", "attention"]\n'
    run_sweep(load_sweep(written(tmp_path, text)), tmp_path / "bundles.csv", workers=1)
    checkpoint = f'checkpoint = "{SAMPLE}"\n'
    run_sweep(load_sweep(written(tmp_path, text + checkpoint)), tmp_path / "torch.csv", workers=1)
    expected, actual = (read_results(tmp_path / name) for name in ("bundles.csv", "torch.csv"))
    what = [[replace(result, value=0) for result in results] for results in (actual, expected)]
    assert what[0] == what[1]
    difference = [abs(one.value - other.value) for one, other in zip(actual, expected, strict=True)]
    assert max(difference) < 0.02
    everything = {result.noise_scale: result.value for result in actual if result.kind == "all"}
    assert len(everything) == 2


def test_tasks_are_asked_beside_the_data(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    tasks = SAMPLE.parent / "tasks"
    text = SPEC.replace("[0, 8]", "[8]").replace("seeds = 2", "seeds = 1").replace(', "random"', "")
    text = text.replace("[0, 0.5, 1]", "[0.5]")
    text += f'tasks = ["stdlib_next_line"]\ninclude_path = "{tasks}"\nlimit = 4\n'
    sweep = load_sweep(written(tmp_path, text))
    run_sweep(sweep, tmp_path / "results.csv", workers=1)
    results = read_results(tmp_path / "results.csv")
    assert {(result.task, result.metric) for result in results} == {
        ("heldout", "loss"),
        ("heldout", "accuracy"),
        ("stdlib_next_line", "acc"),
        ("stdlib_next_line", "acc_norm"),
    }
    assert "128 tokens and stdlib_next_line" in estimate_sweep(sweep)


@pytest.mark.slow
def test_dask_worker_that_dies_loses_nothing(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    text = SPEC.replace("seeds = 2", "seeds = 12").replace("windows = 2", "windows = 32")
    sweep = load_sweep(written(tmp_path, text))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        workers = list(client.run(os.getpid).values())
        assert len(workers) == 2
        killed = threading.Event()

        def kill_one() -> None:
            partial = tmp_path / "dask.csv.partial"
            while not list(partial.glob("*.json")):
                time.sleep(0.05)
            os.kill(workers[0], signal.SIGKILL)
            killed.set()

        threading.Thread(target=kill_one, daemon=True).start()
        run_sweep(sweep, tmp_path / "dask.csv", scheduler=cluster.scheduler_address)
        assert killed.is_set()
    run_sweep(sweep, tmp_path / "here.csv", workers=2)
    assert (tmp_path / "dask.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
