"""Who does a sweep's jobs: a process for each device, or Dask's workers, one job on a model at a time."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import joblib
import pytest
from command_line import SAMPLE, hetc
from sweep_files import SMALLEST, written

from hetc.base.errors import UsageError
from hetc.evaluation import sweep_devices, sweep_workers
from hetc.evaluation.results import Row
from hetc.evaluation.sweep import sweep
from hetc.evaluation.sweep_devices import measure_on_devices
from hetc.evaluation.sweep_jobs import Job, Work, jobs_of
from hetc.evaluation.sweep_spec import Sweep, load_sweep
from hetc.evaluation.sweep_workers import Workers

CHECKPOINT = SMALLEST.replace("seeds = 1", f'seeds = 3\ncheckpoint = "{SAMPLE}"')


def work_of(spec: Sweep) -> Work:
    return Work(spec, (), {}, None, {}, {}, {})


def test_each_device_has_a_process_and_they_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_sweep(written(tmp_path, CHECKPOINT.replace("seeds = 3", "seeds = 6")))

    def meet(work: Work, job: Job, folder: Path) -> list[Row]:
        """Returns when the other device's process has come, too."""
        (folder / f"{work.sweep.device} {os.getpid()}").touch()
        while len(list(folder.iterdir())) < 2:
            time.sleep(0.01)
        return [{"device": work.sweep.device, "process": os.getpid(), "seed": job.seed}]

    monkeypatch.setattr(sweep_devices, "measure_job", meet)
    place = tmp_path / "plans"
    place.mkdir()
    found = list(measure_on_devices(["first", "second"], work_of(spec), jobs_of(spec), place))
    assert sorted(job.seed for job, _ in found) == [0, 1, 2, 3, 4, 5]
    assert all(job.seed == row["seed"] for job, rows in found for row in rows)
    assert len({(row["device"], row["process"]) for _, rows in found for row in rows}) == 2
    assert os.getpid() not in {row["process"] for _, rows in found for row in rows}


def test_an_error_on_one_device_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_sweep(written(tmp_path, CHECKPOINT))

    def fail(work: Work, job: Job, folder: Path) -> list[Row]:
        (folder / f"{os.getpid()}").touch()
        while len(list(folder.iterdir())) < 2:
            time.sleep(0.01)
        if work.sweep.device == "second":
            raise UsageError("device 'second' is not what it was")
        time.sleep(600)
        return []

    monkeypatch.setattr(sweep_devices, "measure_job", fail)
    place = tmp_path / "plans"
    place.mkdir()
    with pytest.raises(UsageError, match="not what it was"):
        list(measure_on_devices(["first", "second"], work_of(spec), jobs_of(spec), place))
    for process in place.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(process.name), signal.SIG_DFL)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--devices", "cpu,abacus"), "device 'abacus' can't be used here"),
        (("--devices", "cpu,"), "device '' can't be used here"),
        (("--devices", "cpu,cuda:99"), "device 'cuda:99' can't be used here"),
        (("--devices", "cpu,cpu", "--jobs", "2"), "no --jobs or --scheduler beside"),
        (("--devices", "cpu", "--scheduler", "tcp://127.0.0.1:1"), "no --jobs or --scheduler beside"),
        (("--devices", "cpu,abacus", "--dry-run"), "device 'abacus' can't be used here"),
    ],
)
def test_devices_are_checked_before_anything_runs(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    pytest.importorskip("torch")
    done = hetc("sweep", written(tmp_path, CHECKPOINT), "-o", tmp_path / "results.csv", *options)
    assert done.returncode == 2 and said in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.toml"]


def test_bundles_have_no_devices(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a sweep with a checkpoint"):
        sweep(written(tmp_path, SMALLEST), tmp_path / "results.csv", devices=["cpu"])


def test_devices_are_of_one_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = {"cuda:0": "cuda (A)", "cuda:1": "cuda (A)", "cuda:2": "cuda (B)"}
    monkeypatch.setattr(sweep_workers, "device_kind", cards.__getitem__)
    spec = load_sweep(written(tmp_path, CHECKPOINT))
    assert Workers(devices=("cuda:0", "cuda:1")).device_kind(spec) == "cuda (A)"
    with pytest.raises(UsageError, match=r"cuda:1 is cuda \(A\), cuda:2 is cuda \(B\)"):
        Workers(devices=("cuda:1", "cuda:2")).device_kind(spec)


@pytest.mark.slow
def test_devices_measure_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    spec = load_sweep(written(tmp_path, CHECKPOINT))
    assert sweep(spec, tmp_path / "two.csv", devices=["cpu", "cpu"]) == 6
    assert sweep(spec, tmp_path / "one.csv", devices=["cpu"]) == 6
    lean = load_sweep(written(tmp_path, CHECKPOINT.replace("seeds", "low_memory = true\nseeds")))
    assert sweep(lean, tmp_path / "lean.csv", devices=["cpu"]) == 6
    expected = (tmp_path / "one.csv").read_bytes()
    assert (tmp_path / "two.csv").read_bytes() == expected
    assert (tmp_path / "lean.csv").read_bytes() == expected


def test_a_dask_worker_takes_one_job_on_a_model_at_a_time(tmp_path: Path) -> None:
    """However many threads it has, and also one that comes later."""
    distributed = pytest.importorskip("distributed")
    from hetc.evaluation.sweep_cluster import on_cluster

    def alone(number: int) -> str:
        worker = str(distributed.get_worker().name)
        busy = tmp_path / worker
        busy.touch(exist_ok=False)  # fails where another thread is at it
        while len(list(tmp_path.glob("met-*"))) < 2:  # both workers have come
            (tmp_path / f"met-{worker}").touch()
            time.sleep(0.01)
        time.sleep(0.02)
        busy.unlink()
        return worker

    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=4, processes=False, dashboard_address=None
        ) as cluster,
        on_cluster(cluster.scheduler_address, one_at_a_time=True),
    ):
        jobs = joblib.Parallel(batch_size=1, return_as="generator_unordered")(
            joblib.delayed(alone)(number) for number in range(12)
        )
        cluster.scale(2)
        found = list(jobs)
    assert len(found) == 12 and len(set(found)) == 2


@pytest.mark.slow
def test_dask_measures_a_checkpoint_as_here(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    spec = load_sweep(written(tmp_path, CHECKPOINT))
    with distributed.LocalCluster(n_workers=1, threads_per_worker=3, dashboard_address=None) as cluster:
        sweep(spec, tmp_path / "dask.csv", scheduler=cluster.scheduler_address)
    sweep(spec, tmp_path / "here.csv")
    assert (tmp_path / "dask.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()


def test_a_cluster_without_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    from hetc.evaluation import sweep_cluster

    monkeypatch.setattr(sweep_cluster, "PATIENCE", 0.2)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        pytest.raises(UsageError, match="has no worker"),
    ):
        sweep(written(tmp_path, CHECKPOINT), tmp_path / "r.csv", scheduler=cluster.scheduler_address)
