"""Logs a table of results to MLflow: a run for the table, and one within it for each programming measured.

It is a function of the finished table. So a sweep that was stopped, or done in shards, is logged once, when
its table is complete; and a table that is there already can be logged as well as a new one.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from hetc.base.errors import UsageError
from hetc.base.extras import needs
from hetc.base.progress import progress
from hetc.evaluation.results import CONDITIONS, Result
from hetc.evaluation.results_file import read_results
from hetc.evaluation.sweep_spec import Sweep, load_sweep
from hetc.model.load import sha256

__all__ = ["log_results", "require_experiment"]

TABLE_TAG = "hetc.results_sha256"
"""Of the run for a table: what tells that the same table was logged before."""
PARENT_TAG = "mlflow.parentRunId"
"""MLflow's own: which run another is shown within."""
OF_THE_DATA = ("data_sha256", "window", "tasks_sha256", "limit")
"""Conditions that say what was measured on: several tasks under one programming are metrics of one run."""
MOST_RUNS = 50_000
"""MLflow gives no more at once."""
FORBIDDEN = re.compile(r"[^\w. /:-]", re.ASCII)
"""What the name of a metric may not have in MLflow."""

Placed = tuple[tuple[str, Any], ...]
"""The parameters of a run, in order."""


def log_results(table: str | Path, experiment: str, *, spec: Sweep | str | Path | None = None) -> str:
    """Logs a table of results to the MLflow server, file or folder that `MLFLOW_TRACKING_URI` names.

    The table becomes a run with the sweep as parameters and the table as an artifact. Within it there is a
    run for each placement under each noise and seed, whose metrics are `TASK/METRIC`. A table that is there
    already is not logged again; what an attempt left that did not finish is deleted first.

        >>> import hetc
        >>> run = hetc.log_results("results.parquet", "olmoe", spec="sweep.toml")  # doctest: +SKIP

    Args:
        table: What `sweep` or `evaluate` wrote: `.parquet` or `.csv`.
        experiment: Name of the experiment; it is made if there is none.
        spec: What the table is of: a sweep, or the path of its TOML file, which becomes an artifact, too.

    Returns:
        The id of the table's run.

    Raises:
        UsageError: No such table, or MLflow can't be written to.
        InvalidInputError: Not such a table.
        RuntimeMissingError: MLflow is not installed.
    """
    table = Path(table)
    results, params, digest = read_results(table), _spec_params(spec), sha256(table)
    with _client() as client:
        where = _experiment(client, experiment)
        for earlier in _tagged(client, where, TABLE_TAG, digest):
            if earlier.status == "FINISHED":
                return str(earlier.run_id)
            for run in (*_tagged(client, where, PARENT_TAG, earlier.run_id), earlier):
                client.delete_run(run.run_id)
        made = client.create_run(where, run_name=table.stem, tags={TABLE_TAG: digest}).info
        parent = str(made.run_id)
        try:
            _log(client, made, params, [])
            for file in (table, spec):
                if isinstance(file, (str, Path)):
                    client.log_artifact(parent, str(file))
            _log_runs(client, where, parent, results)
        except BaseException:
            client.set_terminated(parent, "FAILED")
            raise
        client.set_terminated(parent)
    return parent


def require_experiment(name: str) -> None:
    """Opens an experiment, or makes it, so that nobody measures for hours before MLflow is found wanting.

    Raises:
        UsageError: MLflow can't be written to.
        RuntimeMissingError: MLflow is not installed.
    """
    with _client() as client:
        _experiment(client, name)


@contextmanager
def _client() -> Iterator[Any]:
    """MLflow's client, whose errors become ours."""
    with needs("mlflow", "logging to MLflow"), progress("loading MLflow"):
        import mlflow
    try:
        yield mlflow.MlflowClient()
    except (mlflow.MlflowException, OSError) as error:
        said = str(error).strip().splitlines()
        raise UsageError(
            f"MLflow at {mlflow.get_tracking_uri()} can't be written to: {said[0] if said else error!r}; "
            "MLFLOW_TRACKING_URI says where it is"
        ) from error


def _experiment(client: Any, name: str) -> str:
    """The id of an experiment."""
    known = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if known is None else known.experiment_id)


def _tagged(client: Any, experiment: str, tag: str, value: str) -> list[Any]:
    """What MLflow says of the runs of an experiment that have a tag of that value."""
    found = client.search_runs([experiment], f"tags.`{tag}` = '{value}'", max_results=MOST_RUNS)
    return [run.info for run in found]


def _log_runs(client: Any, experiment: str, parent: str, results: Iterable[Result]) -> None:
    """A run for each programming, within the table's."""
    runs = _by_programming(results)
    with progress("logging to MLflow", len(runs)) as advance:
        for (placed, _), measured in runs.items():
            one = measured[0]
            name = f"{one.score} {one.fraction:g}, c = {one.noise_scale:g}, seed {one.seed}"
            run = client.create_run(experiment, run_name=name, tags={PARENT_TAG: parent}).info
            _log(client, run, placed, measured)
            client.set_terminated(run.run_id)
            advance(1)


def _by_programming(results: Iterable[Result]) -> dict[tuple[Placed, int], list[Result]]:
    """The results of each programming; where a metric comes twice, on other data, in another run."""
    seen: Counter[tuple[Placed, str, str]] = Counter()
    runs: dict[tuple[Placed, int], list[Result]] = defaultdict(list)
    for result in results:
        placed = _params(result)
        times = seen[placed, result.task, result.metric]
        runs[placed, times].append(result)
        seen[placed, result.task, result.metric] += 1
    return runs


def _params(result: Result) -> Placed:
    """What was programmed, without what the table doesn't say."""
    names = ("fraction", "score", "seed", "noise", "noise_scale", "kind")
    said = [(name, getattr(result, name)) for name in names]
    said += [pair for pair in zip(CONDITIONS, result.conditions, strict=True) if pair[0] not in OF_THE_DATA]
    return tuple((name, value) for name, value in (*said, ("model_sha256", result.model)) if value != "")


def _spec_params(spec: Sweep | str | Path | None) -> Placed:
    """A sweep's keys, those that are left out with their defaults."""
    if spec is None:
        return ()
    sweep = spec if isinstance(spec, Sweep) else load_sweep(Path(spec))
    given = {field.name: getattr(sweep, field.name) for field in fields(sweep)}
    given["profile"] = sweep.profile.name
    return tuple((name, _text(value)) for name, value in given.items() if value is not None)


def _text(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, (tuple, bool)) else str(value)


def _log(client: Any, run: Any, params: Placed, measured: Iterable[Result]) -> None:
    """Parameters and metrics of a run, in one request."""
    from mlflow.entities import Metric, Param

    metrics = [
        Metric(FORBIDDEN.sub("_", f"{one.task}/{one.metric}"), one.value, run.start_time, 0)
        for one in measured
    ]
    client.log_batch(run.run_id, metrics, [Param(name, str(value)) for name, value in params])
