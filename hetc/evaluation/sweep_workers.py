"""Does the jobs of a sweep, in processes of this machine or on a Dask cluster."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hetc.base.errors import UsageError
from hetc.base.progress import progress
from hetc.evaluation.results import Row
from hetc.evaluation.sweep_jobs import Job, Work, measure_job
from hetc.evaluation.sweep_spec import Sweep

__all__ = ["measure_all", "workers_of"]

LOOK_EVERY = 0.5
"""Seconds between two looks whether the parent is still there."""


def workers_of(sweep: Sweep, workers: int) -> int:
    """How many processes `workers` means; -1 is one for each core.

    A GPU takes one job at a time, and so does a torch that has every core.
    """
    if workers == -1:
        return 1 if sweep.checkpoint else os.cpu_count() or 1
    return workers


def measure_all(
    work: Work, jobs: Sequence[Job], folder: Path, workers: int, scheduler: str | None = None
) -> Iterator[tuple[Job, list[Row]]]:
    """Results of the jobs as they come.

    Args:
        work: What they share.
        jobs: What to do.
        folder: Where plans or bundles are.
        workers: Processes on this machine, see `workers_of`.
        scheduler: Address of a Dask scheduler whose workers see the same files; None for this machine.

    Raises:
        UsageError: The scheduler can't be reached.
    """
    import joblib

    with _executor(scheduler), progress("sweep", len(jobs)) as advance:
        parallel = joblib.Parallel(
            n_jobs=workers_of(work.sweep, workers), return_as="generator_unordered", batch_size=1
        )
        for job, rows in parallel(joblib.delayed(_measure)(work, job, folder) for job in jobs):
            advance(1)
            yield job, rows


def _measure(work: Work, job: Job, folder: Path) -> tuple[Job, list[Row]]:
    return job, measure_job(work, job, folder)


@contextmanager
def _executor(scheduler: str | None) -> Iterator[None]:
    import joblib

    if scheduler is None:
        with joblib.parallel_config(backend="loky", initializer=_end_with, initargs=(os.getpid(),)):
            yield
        return
    from distributed import Client

    try:
        client = Client(scheduler, timeout=10)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise UsageError(f"scheduler {scheduler}: {error}; start one with `dask scheduler`") from error
    with client, joblib.parallel_config(backend="dask"):
        yield


def _end_with(parent: int) -> None:
    """Ends this process when its parent has ended, were it killed: nobody else would tell it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
