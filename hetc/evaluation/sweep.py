"""Measures a model over fractions, scores, noises and seeds; each programming of the weights is a job.

Finished jobs are kept beside the output, so that a sweep that was stopped goes on where it was, and so that
several machines can do a share each.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hetc.base.errors import UsageError
from hetc.base.output import held, whole_file
from hetc.evaluation.results_file import check_format, write_results
from hetc.evaluation.sweep_jobs import Job
from hetc.evaluation.sweep_plans import write_plans
from hetc.evaluation.sweep_prepared import Prepared, job_files, prepare
from hetc.evaluation.sweep_shards import Shard
from hetc.evaluation.sweep_spec import Sweep, load_sweep
from hetc.evaluation.sweep_workers import Workers, measure_all

__all__ = ["sweep", "sweep_shard"]

logger = logging.getLogger(__name__)

PLANS = "plans-"
"""Begins the name of the folder for plans and bundles, which only a sweep that runs has."""
ALL = Shard(1, 1)


def sweep(
    spec: Sweep | str | Path,
    output: str | Path,
    *,
    workers: int = -1,
    devices: Sequence[str] = (),
    scheduler: str | None = None,
    merge: bool = False,
    force: bool = False,
) -> int:
    """Runs what isn't done yet and writes the table of results (see `hetc.evaluation.results`).

        >>> import hetc
        >>> from pathlib import Path
        >>> from hetc.evaluation.sweep_spec import Sweep
        >>> sample = Path("samples/tiny_moe").absolute()
        >>> spec = Sweep(sample / "model.onnx", sample / "heldout.npz", 64, 1, fractions=(0, 1), seeds=1)
        >>> hetc.sweep(spec, "results.csv", workers=1)
        4

    Args:
        spec: What to measure, or the path of a TOML file that says it (`hetc.evaluation.sweep_spec`).
        output: `.parquet` or `.csv`. While the sweep is under way, finished jobs are in a folder of this name
            with `.partial` at its end, which goes when the table is complete. Those of a sweep of other
            inputs stay there, for that sweep to go on.
        workers: Processes on this machine; -1 for its cores, or for one where a checkpoint is measured.
        devices: One process on each of these instead, such as `cuda:0` and `cuda:1`, for a checkpoint.
        scheduler: Address of a Dask scheduler whose workers see the same files; None for this machine.
        merge: Whether to run nothing, and only write the table of what shards have done.
        force: Whether `output` may be replaced.

    Returns:
        How many rows were written.

    Raises:
        UsageError: The output exists or another sweep writes it, jobs are left to do although `merge` is set,
            a score that isn't known or wasn't measured, or a device or scheduler that can't be used.
        InvalidInputError: A value that its key can't have, or something that the model lacks.
        RuntimeMissingError: A package or the library is missing.
    """
    asked, output = _opened(spec), Path(output)
    check_format(output)
    by, partial = Workers(workers, tuple(devices), scheduler), _partial(output)
    with held(partial):
        with whole_file(output, force=force) as staging:
            prepared = prepare(asked, by.device_kind(asked))
            files = job_files(prepared, partial)
            left = [job for job, file in files.items() if not file.is_file()]
            if merge:
                _require_all(files, left, output)
            elif left:
                _open_partial(partial)
                _measure(prepared, left, files, by, ALL)
            rows = [row for file in files.values() for row in json.loads(file.read_text("utf-8"))]
            write_results(staging, rows, output.suffix)
        _clear(partial, files.values())
    if partial.is_dir():
        logger.info("%s keeps the finished jobs of a sweep of other inputs", partial)
    return len(rows)


def sweep_shard(
    spec: Sweep | str | Path,
    output: str | Path,
    shard: str,
    *,
    workers: int = -1,
    devices: Sequence[str] = (),
    scheduler: str | None = None,
) -> int:
    """Runs one share of a sweep and writes no table: `sweep` with `merge` does when all have run.

    Shards may run at once, on machines that see the same files.

    Args:
        spec, output, workers, devices, scheduler: As for `sweep`.
        shard: Which share, such as `3/16`.

    Returns:
        How many jobs of the whole sweep are left to other shards.

    Raises:
        HetcError: As for `sweep`; also where the same shard is running already.
    """
    share = Shard.parse(shard)
    asked, output = _opened(spec), Path(output)
    check_format(output)
    by, partial = Workers(workers, tuple(devices), scheduler), _partial(output)
    prepared = prepare(asked, by.device_kind(asked))
    files = job_files(prepared, partial)
    with held(partial, shared=True):
        _open_partial(partial)
        with held(partial / f"shard {share.number} of {share.count}"):
            left = [job for job in share.of(list(files)) if not files[job].is_file()]
            if left:
                _measure(prepared, left, files, by, share)
    return sum(not file.is_file() for file in files.values())


def _opened(spec: Sweep | str | Path) -> Sweep:
    return spec if isinstance(spec, Sweep) else load_sweep(Path(spec))


def _partial(output: Path) -> Path:
    """The folder of finished jobs."""
    return output.with_name(f"{output.name}.partial")


def _open_partial(partial: Path) -> None:
    """Makes the folder of finished jobs."""
    if (partial.exists() or partial.is_symlink()) and not partial.is_dir():
        raise UsageError(f"{partial} is in the way of the sweep's finished jobs; remove it")
    partial.mkdir(exist_ok=True)


def _clear(partial: Path, finished: Iterable[Path]) -> None:
    """Removes what a complete table has, and what killed shards left; jobs of other inputs stay."""
    for file in (*finished, *partial.glob(".hetc-*.lock")):
        file.unlink()
    for leftover in partial.glob(f"{PLANS}*"):
        shutil.rmtree(leftover)
    with suppress(OSError):
        partial.rmdir()


def _require_all(files: Mapping[Job, Path], left: Sequence[Job], output: Path) -> None:
    """Raises `UsageError` for jobs that no shard has finished."""
    if not left:
        return
    folder = _partial(output)
    others = len(set(folder.glob("*.json")) - set(files.values()))
    also = f"; {folder} has {others} of other inputs, versions or kinds of device" if others else ""
    raise UsageError(
        f"{len(left)} of {len(files)} jobs of {output} are not finished: run their shards again, or the same "
        f"command without --merge, which runs what is left{also}"
    )


def _measure(
    prepared: Prepared, jobs: Sequence[Job], files: Mapping[Job, Path], workers: Workers, share: Shard
) -> None:
    """Does jobs, and writes each one's rows when it is done.

    Plans lie in a folder whose name says whose they are, so that the next who does this share, and only he,
    knows that they are left over.
    """
    work, partial = prepared.work, files[jobs[0]].parent
    prefix = f"{PLANS}{share.number}-of-{share.count}-"
    for leftover in partial.glob(f"{prefix}*"):
        shutil.rmtree(leftover)
    needed = {placed.folder(job) for job in jobs for placed in work.placements}
    with tempfile.TemporaryDirectory(dir=partial, prefix=prefix) as name:
        folder = Path(name).absolute()
        plans = {name: plan for name, plan in prepared.plans.items() if name in needed}
        write_plans(work.sweep, prepared.model, plans, folder)
        for job, rows in measure_all(work, jobs, folder, workers):
            part = folder / files[job].name
            part.write_text(json.dumps(rows), "utf-8")
            part.replace(files[job])  # in one step, and whoever else did this job found the same
