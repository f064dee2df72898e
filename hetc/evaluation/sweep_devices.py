"""Does the jobs of a sweep on several devices of this machine, in a process for each."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from hetc.evaluation.results import Row
from hetc.evaluation.sweep_jobs import Job, Work, measure_job

__all__ = ["end_with_parent", "measure_on_devices"]

LOOK_EVERY = 0.5
"""Seconds between two looks whether the parent is still there."""


def measure_on_devices(
    devices: Sequence[str], work: Work, jobs: Sequence[Job], folder: Path
) -> Iterator[tuple[Job, list[Row]]]:
    """Results of the jobs as they come; a device that has done its job takes the next.

    Each process is told its device with each job, so one that dies and is started anew has it, too.

    Args:
        devices: As torch calls them; several times the same makes several processes on it.
        work: What the jobs share.
        jobs: What to do.
        folder: Where the plans are.
    """
    left = iter(jobs)
    with _processes(min(len(devices), len(jobs))) as processes:
        on = [replace(work, sweep=replace(work.sweep, device=device)) for device in devices]
        running: dict[Future[list[Row]], tuple[int, Job]] = {}

        def start(place: int) -> None:
            for job in islice(left, 1):
                running[processes[place].submit(measure_job, on[place], job, folder)] = (place, job)

        for place in range(len(processes)):
            start(place)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                place, job = running.pop(future)
                start(place)
                yield job, future.result()


@contextmanager
def _processes(count: int) -> Iterator[list[Any]]:
    """Executors of one process each, which share the cores, and end with the block whatever they do then."""
    from joblib.externals.loky import ProcessPoolExecutor

    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    processes = [
        ProcessPoolExecutor(
            1, initializer=end_with_parent, initargs=(os.getpid(),), env={"OMP_NUM_THREADS": threads}
        )
        for _ in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.shutdown(kill_workers=True)


def end_with_parent(parent: int) -> None:
    """Ends this process when its parent has ended, were it killed: nobody else would tell it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
