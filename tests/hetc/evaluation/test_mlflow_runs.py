"""A table of results in MLflow: one run for it, one within it for each programming, and no row twice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import hetc
from sweep_files import SMALLEST, written

from hetc.base.errors import InvalidInputError, UsageError
from hetc.evaluation.mlflow_runs import log_results
from hetc.evaluation.results_file import write_results

ROW = {
    "fraction": 0.5,
    "score": "maxnn",
    "noise": "pcm",
    "noise_scale": 1.0,
    "mode": "noisy",
    "model_sha256": "0" * 64,
}


def row(task: str, metric: str, value: float, **changes: Any) -> dict[str, Any]:
    return {**ROW, "seed": 0, "task": task, "metric": metric, "value": value, **changes}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two programmings, one with two metrics and one with a loss on other data as well."""
    rows = [
        row("data", "loss", 2.5, data_sha256="1" * 64, window=64),
        row("arc_easy", "acc,none", 0.75, tasks_sha256="2" * 64),
        row("data", "loss", 3.5, seed=1, data_sha256="1" * 64, window=64),
        row("data", "loss", 3.25, seed=1, data_sha256="1" * 64, window=32),
    ]
    path = tmp_path / "results.csv"
    write_results(path, rows, ".csv")
    return path


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a new store, which takes seconds to make; each test has an experiment of its own."""
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    folder = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)  # artifacts of a local store lie in the current folder
        yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before)


def runs_of(client: Any, experiment: str) -> list[Any]:
    """The runs of an experiment, oldest first."""
    where = client.get_experiment_by_name(experiment).experiment_id
    return sorted(client.search_runs([where]), key=lambda run: run.info.start_time)


def test_a_run_for_the_table_and_one_for_each_programming(client: Any, table: Path, tmp_path: Path) -> None:
    spec = written(tmp_path, SMALLEST)
    parent = client.get_run(log_results(table, "moe", spec=spec))
    assert parent.info.status == "FINISHED"
    assert parent.data.params["fractions"] == "[0]"
    assert parent.data.params["profile"] == "pcm-512"
    assert sorted(one.path for one in client.list_artifacts(parent.info.run_id)) == [
        "results.csv",
        "sweep.toml",
    ]
    within = [run for run in runs_of(client, "moe") if run.info.run_id != parent.info.run_id]
    assert {run.data.tags["mlflow.parentRunId"] for run in within} == {parent.info.run_id}
    found = sorted(tuple(sorted(run.data.metrics.items())) for run in within)
    assert found == [
        (("arc_easy/acc_none", 0.75), ("data/loss", 2.5)),
        (("data/loss", 3.25),),
        (("data/loss", 3.5),),
    ]
    params = next(run.data.params for run in within if len(run.data.metrics) == 2)
    assert params == {
        "fraction": "0.5",
        "score": "maxnn",
        "seed": "0",
        "noise": "pcm",
        "noise_scale": "1.0",
        "mode": "noisy",
        "model_sha256": "0" * 64,
    }


def test_nothing_is_logged_twice(client: Any, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(type(client), "log_artifact", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(UsageError, match=r"MLflow at sqlite.*disk full.*MLFLOW_TRACKING_URI"):
            log_results(table, "twice")
    assert [run.info.status for run in runs_of(client, "twice")] == ["FAILED"]
    first = log_results(table, "twice")
    assert len(runs_of(client, "twice")) == 4
    assert log_results(table, "twice") == first
    assert len(runs_of(client, "twice")) == 4
    assert log_results(table, "another") != first


def test_what_is_no_table_makes_no_run(client: Any, tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInputError, match="column"):
        log_results(tmp_path / "results.csv", "nothing")
    assert client.get_experiment_by_name("nothing") is None


def test_a_sweep_is_logged_when_its_table_is_complete(client: Any, tmp_path: Path) -> None:
    spec = written(tmp_path, SMALLEST)
    output = tmp_path / "out.csv"
    assert hetc("sweep", spec, "-o", output, "--jobs", 1, "--shard", "1/1").returncode == 0
    done = hetc("sweep", spec, "-o", output, "--jobs", 1, "--merge", "--mlflow", "sweep")
    assert done.returncode == 0, done.stderr
    assert "logged to MLflow: experiment sweep, run " in done.stderr
    parent, *within = runs_of(client, "sweep")
    assert parent.info.run_name == "out"
    assert {name for run in within for name in run.data.metrics} == {"heldout/loss", "heldout/accuracy"}


def test_without_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    done = hetc("sweep", written(tmp_path, SMALLEST), "-o", tmp_path / "out.csv", "--mlflow", "moe")
    assert done.returncode == 5
    assert "needs mlflow, which is not installed; run `pip install '.[mlflow]'`" in done.stderr
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("option", [("--shard", "1/2"), ("--dry-run",)])
def test_no_table_nothing_to_log(tmp_path: Path, option: tuple[str, ...]) -> None:
    done = hetc("sweep", written(tmp_path, SMALLEST), "-o", tmp_path / "a.csv", "--mlflow", "moe", *option)
    assert done.returncode == 2
    assert "--mlflow logs the finished table" in done.stderr
