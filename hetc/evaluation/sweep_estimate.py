"""Says how much a sweep has to do, from a measurement made now."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hetc.base.workspace import workspace
from hetc.evaluation.sweep import prepare
from hetc.evaluation.sweep_plans import write_plans
from hetc.evaluation.sweep_spec import Sweep
from hetc.evaluation.sweep_workers import measure_all, workers_of

__all__ = ["duration", "estimate_sweep"]

Found = TypeVar("Found")


def estimate_sweep(sweep: Sweep, folder: Path | None = None, *, workers: int = -1) -> str:
    """How much there is to do, how long it takes here and what it writes.

    One bundle is compiled, and one measurement made twice: the first has what a worker takes to start.

    Args:
        sweep: What to measure.
        folder: Where to compile; None for the system's temporary folder.
        workers: Processes on this machine, -1 for its cores.

    Raises:
        HetcError: As for `hetc.evaluation.sweep.sweep`.
    """
    loading, prepared = _timed(lambda: prepare(sweep))
    work, jobs, plans = prepared.work, prepared.jobs, prepared.plans
    placements, job = work.placements, jobs[-1]  # the first may have no noise to program
    one = replace(placements[0], fractions=placements[0].fractions[:1])
    with workspace() if folder is None else _inside(folder) as place:
        plan = {one.folder(job): plans[placements[0].folder(job)]}
        compiling, _ = _timed(lambda: write_plans(sweep, prepared.model, plan, place))
        files = [file.stat() for file in place.rglob("*") if file.is_file()]
        alone = replace(work, placements=(one,), plans=dict.fromkeys(plan, ""))
        starting, measuring = (
            _timed(lambda: list(measure_all(alone, [job], place, workers)))[0] for _ in range(2)
        )
    each = sum(len(placed.fractions) for placed in placements)
    cores = min(workers_of(sweep, workers), len(jobs))
    rounds = math.ceil(len(jobs) / cores)
    setting_up = loading + len(plans) * compiling + max(0.0, starting - measuring)
    seconds = setting_up + rounds * each * measuring
    megabytes = len(plans) * sum(file.st_size for file in files if file.st_nlink == 1) / 1e6
    windows = work.windows
    what = " and ".join([*([] if windows is None else [f"{windows.size:,} tokens"]), *sweep.tasks])
    where = f"on {sweep.device}" if sweep.checkpoint else f"on {cores} core{'s' * (cores > 1)}"
    return (
        f"{len(jobs)} programmings of the weights, at most {len(jobs) * each:,} measurements of {what}; "
        f"one takes {measuring:.1f} s, setting up {setting_up:.0f} s: about {duration(seconds)} at most "
        f"{where}, and {megabytes:,.0f} MB of disk while it runs"
    )


@contextmanager
def _inside(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder, prefix="hetc-sweep-") as name:
        yield Path(name)


def _timed(call: Callable[[], Found]) -> tuple[float, Found]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def duration(seconds: float) -> str:
    """For people: `42 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"
