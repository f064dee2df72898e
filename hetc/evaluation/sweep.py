"""Measures a model over fractions, scores, noises and seeds; each programming of the weights is a job.

Finished jobs are kept beside the output, so that a sweep that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from hetc.base.errors import UsageError
from hetc.base.output import whole_file
from hetc.base.progress import progress
from hetc.base.version import __version__
from hetc.bundle.files import PLAN
from hetc.compiler.compile import compile
from hetc.compiler.loading import load_moe_model
from hetc.compiler.placement import Placement, make_plan
from hetc.evaluation.results import check_format, write_results
from hetc.evaluation.sweep_jobs import Job, Placed, Row, jobs_of, measure_job, placements_of
from hetc.evaluation.sweep_spec import Sweep, load_sweep
from hetc.hardware.profile import load_profile
from hetc.model.load import LoadedModel
from hetc.model.tokens import token_windows
from hetc.passes.analysis.find_units import find_units
from hetc.plan.scores import Scores, load_scores
from hetc.plan.units import DENSE

__all__ = ["estimate_sweep", "sweep"]


def sweep(
    spec: Sweep | str | Path,
    output: str | Path,
    *,
    workers: int = -1,
    scheduler: str | None = None,
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
            with `.partial` at its end, which goes when the table is complete.
        workers: Processes on this machine, -1 for its cores.
        scheduler: Address of a Dask scheduler whose workers see the same files; None for this machine.
        force: Whether `output` may be replaced.

    Returns:
        How many rows were written.

    Raises:
        UsageError: The output exists, or a score that isn't known or wasn't measured.
    """
    asked, output = spec if isinstance(spec, Sweep) else load_sweep(Path(spec)), Path(output)
    check_format(output)
    partial = output.with_name(f"{output.name}.partial")
    model = load_moe_model(asked.model)
    windows = _windows(asked)
    origin = _origin(asked, model, windows)
    files = {job: partial / f"{_key(job, asked, origin)}.json" for job in jobs_of(asked)}
    with whole_file(output, force=force) as staging:
        partial.mkdir(exist_ok=True)
        left = [job for job, file in files.items() if not file.is_file()]
        with tempfile.TemporaryDirectory(dir=partial, prefix="plans-") as folder:
            if left:
                _compile(asked, model, left, placements_of(asked), Path(folder))
            del model
            for job, rows in _measure_all(asked, left, Path(folder), windows, workers, scheduler):
                with whole_file(files[job]) as part:
                    part.write_text(json.dumps(rows), "utf-8")
        rows = [{**row, **origin} for file in files.values() for row in json.loads(file.read_text("utf-8"))]
        write_results(staging, rows, output.suffix)
    shutil.rmtree(partial)
    return len(rows)


def estimate_sweep(sweep: Sweep) -> str:
    """How much there is to do, how long it takes here and what it writes, from one measurement made now."""
    windows = _windows(sweep)
    jobs, placements = jobs_of(sweep), placements_of(sweep)
    one = replace(placements[0], fractions=placements[0].fractions[:1])
    with tempfile.TemporaryDirectory(dir=sweep.model.parent, prefix=".sweep-") as folder:
        _compile(sweep, load_moe_model(sweep.model), jobs[:1], [one], Path(folder))
        start = time.perf_counter()
        measure_job(sweep, jobs[0], [one], Path(folder), windows)
        seconds = time.perf_counter() - start
        files = [file.stat() for file in Path(folder).rglob("*") if file.is_file()]
    most = len(jobs) * sum(len(placed.fractions) for placed in placements)
    # A GPU takes one job at a time, and so does a torch that has every core.
    cores = 1 if sweep.checkpoint else os.cpu_count() or 1
    hours, minutes = divmod(round(most * seconds / cores / 60), 60)
    folders = len({placed.folder(job) for job in jobs for placed in placements})
    megabytes = folders * sum(file.st_size for file in files if file.st_nlink == 1) / 1e6
    what = " and ".join([*([] if windows is None else [f"{windows.size:,} tokens"]), *sweep.tasks])
    where = f"on {sweep.device}" if sweep.checkpoint else f"on {cores} cores"
    return (
        f"{len(jobs)} programmings of the weights, at most {most:,} measurements of {what}; "
        f"one takes {seconds:.1f} s: at most {hours} h {minutes:02} min {where}, "
        f"and {megabytes:,.0f} MB of disk while it runs"
    )


def _measure_all(
    sweep: Sweep,
    jobs: Sequence[Job],
    plans: Path,
    windows: np.ndarray | None,
    workers: int,
    scheduler: str | None,
) -> Iterator[tuple[Job, list[Row]]]:
    """Results of the jobs as they come."""
    import joblib

    placements = placements_of(sweep)
    with _executor(scheduler), progress("sweep", len(jobs)) as advance:
        parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)
        for job, rows in parallel(
            joblib.delayed(_measure)(sweep, job, placements, plans, windows) for job in jobs
        ):
            advance(1)
            yield job, rows


def _measure(
    sweep: Sweep, job: Job, placements: Sequence[Placed], plans: Path, windows: np.ndarray | None
) -> tuple[Job, list[Row]]:
    return job, measure_job(sweep, job, placements, plans, windows)


@contextmanager
def _executor(scheduler: str | None) -> Iterator[None]:
    if scheduler is None:
        yield
        return
    import joblib
    from distributed import Client

    try:
        client = Client(scheduler, timeout=10)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise UsageError(f"scheduler {scheduler}: {error}; start one with `dask scheduler`") from error
    with client, joblib.parallel_config(backend="dask"):
        yield


def _compile(
    sweep: Sweep,
    model: LoadedModel,
    jobs: Sequence[Job],
    placements: Sequence[Placed],
    folder: Path,
) -> None:
    """A plan, or a bundle, for each placement and noise, and for each seed where the order follows it."""
    scores = _measured_scores(sweep)
    units = find_units(model.model)
    wanted = {placed.folder(job): (placed, job) for job in jobs for placed in placements}
    # Hard links where the file system allows: a sweep of a large model would otherwise copy it many times.
    link = sweep.model.stat().st_dev == folder.stat().st_dev
    with progress("compiling", len(wanted)) as advance:
        for name, (placed, job) in wanted.items():
            alone = [unit.id for unit in units if unit.kind in DENSE and placed.kind in (unit.kind, "all")]
            choices: Row = {
                "digital_frac": placed.fractions[0],
                "score": placed.score,
                "scores": scores,
                "ranking": placed.ranking,
                "analog": (*sweep.analog, *alone),
                "digital": sweep.digital,
                "seed": job.seed,
            }
            profile = load_profile(sweep.profile).with_noise(job.noise, None)
            if sweep.checkpoint is None:
                compile(sweep.model, folder / name, profile=profile, link=link, **choices)
            else:
                (folder / name).mkdir()
                make_plan(model, Placement(**choices), profile).save(folder / name / PLAN)
            advance(1)


def _windows(sweep: Sweep) -> np.ndarray | None:
    """The tokens to foretell, if the sweep has data."""
    return None if sweep.data is None else token_windows(sweep.data, sweep.window, sweep.windows)


def _measured_scores(sweep: Sweep) -> Scores:
    """All measured scores, whichever file they come from."""
    files = [load_scores(file) for file in sweep.scores_files]
    return Scores({name: values for file in files for name, values in file.values.items()})


def _origin(sweep: Sweep, model: LoadedModel, windows: np.ndarray | None) -> Row:
    """What every row was measured on and with."""
    return {
        "model": model.source["sha256"],
        "data": "" if windows is None else hashlib.sha256(windows.tobytes()).hexdigest(),
        "tokens": 0 if windows is None else windows.size,
        "limit": sweep.limit,
        "window": sweep.window,
        "profile": sweep.profile,
        "store": "bfloat16",
        "runtime": "onnxruntime" if sweep.checkpoint is None else f"torch {sweep.device}",
        "scores_files": " ".join(map(_sha256, sweep.scores_files)),
        "analog": " ".join(sweep.analog),
        "digital": " ".join(sweep.digital),
        "hetc": __version__,
    }


def _key(job: Job, sweep: Sweep, origin: Row) -> str:
    """Names the file of a job's rows: another input gives another name."""
    inputs = [asdict(job), origin, sweep.tasks, [asdict(placed) for placed in placements_of(sweep)]]
    profile = load_profile(sweep.profile).to_dict()
    return hashlib.sha256(json.dumps([inputs, profile]).encode()).hexdigest()[:16]


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
