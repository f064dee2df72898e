"""Sweeps: what a file asks for, what is measured once, and that nothing is lost or counted twice."""

from __future__ import annotations

import csv
import os
import re
import shutil
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
from sweep_files import SMALLEST, SPEC, written

from hetc.base.errors import UsageError
from hetc.base.output import whole_file
from hetc.base.schema import read_schema
from hetc.compiler.compile import compile
from hetc.evaluation import sweep as sweeping
from hetc.evaluation.likelihood import mean_loss, session_forward
from hetc.evaluation.results_file import read_results
from hetc.evaluation.sweep import sweep as run_sweep
from hetc.evaluation.sweep_estimate import duration, estimate_sweep
from hetc.evaluation.sweep_jobs import Job, jobs_of
from hetc.evaluation.sweep_spec import load_sweep
from hetc.evaluation.sweep_workers import Workers
from hetc.hardware.profile import Profile, load_profile
from hetc.model.load import sha256

GOLDEN = 3.4877


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def bundle_loss(folder: Path, profile: Profile, windows: np.ndarray) -> float:
    bundle = compile(SAMPLE / "model.onnx", folder, digital_frac=0, profile=profile)
    return mean_loss(session_forward(bundle.session(threads=1)), windows)


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
    sweep = load_sweep(written(tmp_path, SMALLEST.replace("seeds = 1", "seeds = 2")))
    measure: Callable[..., Iterator[Any]] = sweeping.measure_all
    measured: list[Job] = []

    def until_stopped(*arguments: Any) -> Iterator[Any]:
        for job, rows in measure(*arguments):
            measured.append(job)
            yield job, rows
            if len(measured) == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(sweeping, "measure_all", until_stopped)
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


@pytest.mark.slow
def test_a_sweep_of_other_inputs_loses_no_finished_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "results.csv"
    measure: Callable[..., Iterator[Any]] = sweeping.measure_all
    first = load_sweep(written(tmp_path, SPEC.replace("[0, 0.5, 1]", "[0.5]")))
    measured: list[Job] = []

    def stopped(*arguments: Any) -> Iterator[Any]:
        yield next(measure(*arguments))
        raise KeyboardInterrupt

    def counted(*arguments: Any) -> Iterator[Any]:
        for job, rows in measure(*arguments):
            measured.append(job)
            yield job, rows

    monkeypatch.setattr(sweeping, "measure_all", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(first, output, workers=1)
    monkeypatch.setattr(sweeping, "measure_all", counted)
    run_sweep(load_sweep(written(tmp_path, SMALLEST)), output, workers=1)
    assert len(measured) == 1
    assert len(list((tmp_path / "results.csv.partial").iterdir())) == 1
    run_sweep(first, output, workers=1, force=True)
    assert len(measured) == 1 + len(jobs_of(first)) - 1
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
    (tmp_path / "new.csv.partial").write_text("in the way")
    with pytest.raises(UsageError, match="in the way"):
        run_sweep(sweep, tmp_path / "new.csv")


def test_two_sweeps_do_not_write_one_output(tmp_path: Path) -> None:
    with whole_file(tmp_path / "results.csv"), pytest.raises(UsageError, match="written by another"):
        run_sweep(load_sweep(written(tmp_path)), tmp_path / "results.csv")


@pytest.mark.slow
def test_a_device_of_ones_own_is_what_is_measured(tmp_path: Path) -> None:
    """Its noise model has a built-in one's name and nothing else of it."""
    mine = """
    name = "mine"
    [noise]
    model = "pcm"
    form = "gaussian"
    sigma = [0.02, 0.05]
    scale = 4.0
    """
    (tmp_path / "mine.toml").write_text(mine)
    text = SMALLEST + 'profile = "mine.toml"\n'
    assert run_sweep(load_sweep(written(tmp_path, text)), tmp_path / "own.csv", workers=1) == 2
    own = load_profile(tmp_path / "mine.toml")
    bundle = compile(SAMPLE / "model.onnx", tmp_path / "bundle", digital_frac=0, profile=own)
    windows = np.load(SAMPLE / "heldout.npz")["tokens"][:128].reshape(2, 64)
    losses = {
        scale: mean_loss(session_forward(bundle.session(noise_scale=scale, threads=1)), windows)
        for scale in (4.0, 1.0)
    }
    (loss, _), rows = read_results(tmp_path / "own.csv"), csv_rows(tmp_path / "own.csv")
    assert (loss.noise, loss.noise_scale, loss.value) == ("pcm", 4.0, losses[4.0])
    assert {row["profile"] for row in rows} == {"mine"}
    assert {row["profile_sha256"] for row in rows} == {own.digest}
    text = text + 'noise_scales = [1]\nnoises = ["pcm", "gaussian"]\n'
    run_sweep(load_sweep(written(tmp_path, text)), tmp_path / "scaled.csv", workers=1)
    first, second = (one for one in read_results(tmp_path / "scaled.csv") if one.metric == "loss")
    assert (first.noise, first.value) == ("pcm", losses[1.0])
    built_in = bundle_loss(tmp_path / "gaussian", own.with_noise("gaussian", 1.0), windows)
    assert (second.noise, second.value) == ("gaussian", built_in)
    assert losses[4.0] == pytest.approx(GOLDEN, abs=2e-3), "sigma = 4 (0.02 + 0.05 r), seed 0"


def test_every_row_says_what_made_it(tmp_path: Path) -> None:
    output = tmp_path / "results.parquet"
    run_sweep(load_sweep(written(tmp_path, SMALLEST)), output, workers=1)
    table = pytest.importorskip("pyarrow.parquet").read_table(output)
    assert table.schema.field("window").metadata[b"unit"] == b"tokens"
    row = table.to_pylist()[0]
    hashes = {name for name, value in row.items() if name.endswith("_sha256") and len(value or "") == 64}
    assert hashes == {f"{name}_sha256" for name in ("model", "files", "plan", "profile", "data")}
    assert row["model_sha256"] == sha256(SAMPLE / "model.onnx")
    assert row["versions"].startswith("hetc ") and "onnxruntime" in row["versions"]
    assert set(row) <= set(read_schema("results")["properties"])


@pytest.mark.parametrize(
    "refused",
    [
        PermissionError(1, "Operation not permitted"),
        pytest.param(OSError(18, "Cross-device"), marks=pytest.mark.slow),
    ],
)
def test_weights_are_copied_where_links_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: OSError
) -> None:
    """As the kernel refuses them on files of other users (protected_hardlinks)."""
    sweep = load_sweep(written(tmp_path, SMALLEST))

    def link(*arguments: Any, **options: Any) -> None:
        raise refused

    monkeypatch.setattr(os, "link", link)
    assert run_sweep(sweep, tmp_path / "results.csv", workers=1) == 2


def test_nothing_is_made_beside_the_model(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(SAMPLE, model)
    before = model.stat().st_mtime_ns
    sweep = load_sweep(written(tmp_path, SMALLEST.replace(str(SAMPLE), str(model))))
    estimate_sweep(sweep, workers=Workers(1))
    run_sweep(sweep, tmp_path / "results.csv", workers=1)
    assert model.stat().st_mtime_ns == before


def test_command_says_how_long_it_would_take(tmp_path: Path) -> None:
    done = hetc("sweep", written(tmp_path), "--dry-run", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert "3 programmings of the weights with 4 measurements of 128 tokens each" in done.stdout
    took = r"programming takes \d+\.\d s, measuring \d+\.\d s, setting up \d+ s"
    assert re.search(rf"; {took}: about (\d+ min \d\d|\d+) s on 1 core", done.stdout)
    assert hetc("sweep", written(tmp_path)).returncode == 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (59.5, "1 min 00 s"), (185, "3 min 05 s"), (7621, "2 h 07 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_torch_measures_what_bundles_do(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    text = SPEC.replace("windows = 2", "windows = 8").replace("seeds = 2", "seeds = 1")
    text = text.replace("[0, 0.5, 1]", "[0.5]").replace(', "random"', "")
    text += 'kinds = ["all"]\n'
    run_sweep(load_sweep(written(tmp_path, text)), tmp_path / "bundles.csv", workers=1)
    checkpoint = f'checkpoint = "{SAMPLE}"\n'
    run_sweep(load_sweep(written(tmp_path, text + checkpoint)), tmp_path / "torch.csv", workers=1)
    expected, actual = (read_results(tmp_path / name) for name in ("bundles.csv", "torch.csv"))
    what = [[replace(one, value=0, conditions=()) for one in results] for results in (actual, expected)]
    assert what[0] == what[1]
    difference = [abs(one.value - other.value) for one, other in zip(actual, expected, strict=True)]
    assert max(difference) < 0.02
    everything = {result.noise_scale: result.value for result in actual if result.kind == "all"}
    assert len(everything) == 2


@pytest.mark.slow
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
    assert "128 tokens and stdlib_next_line" in str(estimate_sweep(sweep))


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
