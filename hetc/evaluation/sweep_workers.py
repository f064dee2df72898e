"""Does the jobs of a sweep: in processes of this machine, one on each device, or on a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from hetc.base.errors import UsageError
from hetc.base.progress import progress
from hetc.evaluation.origin import device_kind
from hetc.evaluation.results import Row
from hetc.evaluation.sweep_devices import end_with_parent, measure_on_devices
from hetc.evaluation.sweep_jobs import Job, Work, measure_job
from hetc.evaluation.sweep_spec import Sweep

__all__ = ["Workers", "measure_all"]


@dataclass(frozen=True)
class Workers:
    """Who does the jobs.

    Attributes:
        processes: On this machine; -1 for its cores, or for one where a checkpoint is measured.
        devices: One process on each of these instead, for a checkpoint; a device may come several times.
        scheduler: Address of a Dask scheduler whose workers see the same files; None for this machine.
    """

    processes: int = -1
    devices: tuple[str, ...] = ()
    scheduler: str | None = None

    def count(self, sweep: Sweep) -> int:
        """How many jobs go on at once on this machine.

        A GPU takes one job at a time, and so does a torch that has every core.
        """
        if self.devices:
            return len(self.devices)
        if self.processes == -1:
            return 1 if sweep.checkpoint else os.cpu_count() or 1
        return self.processes

    def device_kind(self, sweep: Sweep) -> str | None:
        """The one sort of device that the jobs run on, which is there; None for a sweep of bundles.

        Raises:
            UsageError: A device that can't be used, devices of several sorts or where they make no sense, or
                a scheduler that can't be reached.
        """
        if self.devices and sweep.checkpoint is None:
            raise UsageError(
                "devices are for a sweep with a checkpoint, which torch runs; bundles run on cores: --jobs"
            )
        if self.devices and (self.scheduler is not None or self.processes != -1):
            raise UsageError("devices are one process each on this machine: no --jobs or --scheduler beside")
        if sweep.checkpoint is None:
            return None
        if self.scheduler is not None:
            from hetc.evaluation.sweep_cluster import kinds_on

            kinds = kinds_on(self.scheduler, sweep.device)
        else:
            kinds = {name: device_kind(name) for name in self.devices or (sweep.device,)}
        if len(set(kinds.values())) > 1:
            found = ", ".join(f"{place} is {kind}" for place, kind in kinds.items())
            raise UsageError(f"a sweep's rows are all of one kind of device, and these differ: {found}")
        return next(iter(kinds.values()))


def measure_all(
    work: Work, jobs: Sequence[Job], folder: Path, workers: Workers
) -> Iterator[tuple[Job, list[Row]]]:
    """Results of the jobs as they come.

    Args:
        work: What they share.
        jobs: What to do.
        folder: Where plans or bundles are.
        workers: Who does them.

    Raises:
        UsageError: The scheduler can't be reached.
    """
    with progress("sweep", len(jobs)) as advance:
        if workers.devices:
            measured = measure_on_devices(workers.devices, work, jobs, folder)
        else:
            measured = _measure_in_processes(work, jobs, folder, workers)
        for job, rows in measured:
            advance(1)
            yield job, rows


def _measure_in_processes(
    work: Work, jobs: Sequence[Job], folder: Path, workers: Workers
) -> Iterator[tuple[Job, list[Row]]]:
    import joblib

    with _backend(work.sweep, workers.scheduler):
        parallel = joblib.Parallel(
            n_jobs=workers.count(work.sweep), return_as="generator_unordered", batch_size=1
        )
        yield from parallel(joblib.delayed(_measure)(work, job, folder) for job in jobs)


def _measure(work: Work, job: Job, folder: Path) -> tuple[Job, list[Row]]:
    return job, measure_job(work, job, folder)


def _backend(sweep: Sweep, scheduler: str | None) -> AbstractContextManager[None]:
    import joblib

    if scheduler is None:
        here: AbstractContextManager[None] = joblib.parallel_config(
            backend="loky", initializer=end_with_parent, initargs=(os.getpid(),)
        )
        return here
    from hetc.evaluation.sweep_cluster import on_cluster

    return on_cluster(scheduler, one_at_a_time=sweep.checkpoint is not None)
