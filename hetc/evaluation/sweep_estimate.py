"""Says how much a sweep has to do, from measurements made now."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from hetc.base.workspace import workspace
from hetc.evaluation.sweep_jobs import Placed, analog_units, measurements
from hetc.evaluation.sweep_plans import write_plans
from hetc.evaluation.sweep_prepared import Prepared, prepare
from hetc.evaluation.sweep_shards import Shard
from hetc.evaluation.sweep_spec import Sweep
from hetc.evaluation.sweep_workers import Workers
from hetc.plan.plan import Plan

__all__ = ["Estimate", "duration", "estimate_sweep"]

Found = TypeVar("Found")


@dataclass(frozen=True)
class Times:
    """Seconds that the parts of a sweep take.

    Attributes:
        compiling: One plan or bundle.
        starting: A worker before its first job: opening the model, compiling kernels, opening the tasks.
        programming: A job's weights, which its measurements share.
        measuring: Each of its measurements.
    """

    compiling: float
    starting: float
    programming: float
    measuring: float


@dataclass(frozen=True)
class Estimate:
    """How much a sweep, or a shard of it, has to do; its text says so in a sentence.

    Attributes:
        programmings: How often weights are programmed.
        measurements: Measurements of each programming.
        measured_on: The tokens and tasks, in words.
        programming_seconds: What one programming takes.
        measuring_seconds: What one measurement takes.
        setup_seconds: What comes before the first.
        seconds: All together.
        where: The devices or cores, in words.
        disk_megabytes: What it keeps on disk while it runs.
        shard: Which shard, such as `3/16`; None for the whole sweep.
    """

    programmings: int
    measurements: int
    measured_on: str
    programming_seconds: float
    measuring_seconds: float
    setup_seconds: float
    seconds: float
    where: str
    disk_megabytes: float
    shard: str | None

    def __str__(self) -> str:
        which = "" if self.shard is None else f" in shard {self.shard}"
        return (
            f"{_counted(self.programmings, 'programming')} of the weights{which} with "
            f"{_counted(self.measurements, 'measurement')} of {self.measured_on} each; programming takes "
            f"{self.programming_seconds:.1f} s, measuring {self.measuring_seconds:.1f} s, setting up "
            f"{self.setup_seconds:.0f} s: about {duration(self.seconds)} {self.where}, and "
            f"{self.disk_megabytes:,.0f} MB of disk while it runs"
        )


def estimate_sweep(
    sweep: Sweep, folder: Path | None = None, *, workers: Workers | None = None, shard: str | None = None
) -> Estimate:
    """How much there is to do, how long it takes here and what it writes.

    Args:
        sweep: What to measure.
        folder: Where to compile; None for the system's temporary folder.
        workers: Who would do it, None for this machine's cores. It is tried in this process.
        shard: The share that is meant, such as `3/16`; None for the whole sweep.

    Raises:
        HetcError: As for `hetc.evaluation.sweep.sweep`.
    """
    workers = workers or Workers()
    share = Shard(1, 1) if shard is None else Shard.parse(shard)
    kind = workers.device_kind(sweep)
    if workers.devices:
        sweep = replace(sweep, device=workers.devices[0])
    loading, prepared = _timed(lambda: prepare(sweep, kind))
    different = _different(prepared)
    with workspace() if folder is None else _inside(folder) as place:
        times = _try(prepared, different[:2], place)
        files = [file.stat() for file in place.rglob("*") if file.is_file()]
    jobs = share.of(prepared.jobs)
    plans = len({placed.folder(job) for job in jobs for placed in prepared.work.placements})
    megabytes = plans * sum(file.st_size for file in files if file.st_nlink == 1) / len(different[:2]) / 1e6
    at_once = max(1, min(workers.count(sweep), len(jobs)))
    setting_up = loading + plans * times.compiling + times.starting
    rounds = math.ceil(len(jobs) / at_once)
    seconds = setting_up + rounds * (times.programming + len(different) * times.measuring)
    windows = prepared.work.windows
    what = " and ".join([*([] if windows is None else [f"{windows.size:,} tokens"]), *sweep.tasks])
    return Estimate(
        programmings=len(jobs),
        measurements=len(different),
        measured_on=what,
        programming_seconds=times.programming,
        measuring_seconds=times.measuring,
        setup_seconds=setting_up,
        seconds=seconds,
        where=_where(sweep, workers, at_once),
        disk_megabytes=megabytes,
        shard=shard,
    )


def _different(prepared: Prepared) -> list[tuple[Placed, Plan]]:
    """The placements of the last job at one fraction each, and their plans; once what leaves the same analog.

    The first job may have no noise to program. Other jobs may differ by a measurement, where a score's order
    follows the seed; here a placement's plan holds for any seed.
    """
    job = prepared.jobs[-1]
    found: dict[Hashable, tuple[Placed, Plan]] = {}
    for placed in prepared.work.placements:
        plan = prepared.plans[placed.folder(job)]
        for fraction in placed.fractions:
            alone = replace(placed, fractions=(fraction,), by_seed=False, by_profile=False)
            found.setdefault(analog_units(plan, fraction), (alone, plan))
    return list(found.values())


def _try(prepared: Prepared, tried: Sequence[tuple[Placed, Plan]], folder: Path) -> Times:
    """Measures one or two placements under two programmings.

    What the first programming takes beyond the second is what it takes to start; what the first measurement
    takes beyond the second is the programming.
    """
    job = prepared.jobs[-1]
    placements = tuple(placed for placed, _ in tried)
    plans = {placed.folder(job): plan for placed, plan in tried}
    compiling, _ = _timed(lambda: write_plans(prepared.work.sweep, prepared.model, plans, folder))
    work = replace(prepared.work, placements=placements, plans=dict.fromkeys(plans, ""))
    first = measurements(work, job, folder)
    second = measurements(work, replace(job, seed=job.seed + 1), folder)
    cold, _ = _timed(lambda: next(first))
    first.close()
    warm, _ = _timed(lambda: next(second))
    measuring = _timed(lambda: next(second))[0] if len(placements) > 1 else warm
    second.close()
    return Times(compiling / len(plans), max(0.0, cold - warm), max(0.0, warm - measuring), measuring)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _where(sweep: Sweep, workers: Workers, at_once: int) -> str:
    if workers.devices:
        return f"on {', '.join(workers.devices)}"
    if sweep.checkpoint:
        return f"on {sweep.device}"
    return f"on {at_once} core{'s' * (at_once > 1)}"


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
