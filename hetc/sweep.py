"""Measures a bundle over fractions, scores, noises and seeds; each programming of the weights is a job.

A job holds everything that shares programmed weights: one noise, one scale, one seed. Placements that put
the same units digital are measured once. Finished jobs are kept beside the output, so that a sweep that was
stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hetc import __version__
from hetc.bundle import load_bundle
from hetc.cost import targets_at
from hetc.errors import UsageError
from hetc.likelihood import predict_tokens, session_forward
from hetc.model_file import LoadedModel
from hetc.output import whole_file
from hetc.passes.find_units import find_units
from hetc.pipeline import compile, load_moe_model
from hetc.profile import load_profile
from hetc.progress import progress
from hetc.record import load_tokens
from hetc.results import FORMATS, write_results
from hetc.scores import Scores, load_scores
from hetc.sweep_spec import Sweep
from hetc.units import DENSE, Unit

__all__ = ["Job", "Placed", "estimate_sweep", "jobs_of", "measure_job", "placements_of", "run_sweep"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One programming of the weights."""

    noise: str
    noise_scale: float
    seed: int


@dataclass(frozen=True)
class Placed:
    """A way to place the experts, at all fractions.

    Attributes:
        score, ranking: What ranks the experts.
        kind: The one unit kind that is analog, or `none`; empty where the fractions decide.
        fractions: What to measure.
        by_seed: Whether each seed has another order.
    """

    score: str
    ranking: str = "layer"
    kind: str = ""
    fractions: tuple[float, ...] = ()
    by_seed: bool = False

    def folder(self, job: Job) -> str:
        """Name of its bundle, which jobs share where the order doesn't follow the seed."""
        seed = str(job.seed) if self.by_seed else ""
        return "+".join([self.score, self.ranking, self.kind, job.noise, seed])

    @property
    def label(self) -> str:
        """Its score in the results."""
        return self.score if self.ranking == "layer" else f"{self.score} over the model"


def jobs_of(sweep: Sweep) -> list[Job]:
    """The jobs of a sweep, in the order of its results."""
    noises = sweep.noises or (load_profile(sweep.profile).noise.name,)
    return [
        Job(noise, float(scale), seed)
        for noise in noises
        for scale in sweep.noise_scales
        for seed in range(sweep.seeds if scale else 1)
    ]


def placements_of(sweep: Sweep) -> list[Placed]:
    """The placements of a sweep, in the order of its results."""
    fractions = tuple(sorted(sweep.fractions))
    ranked = [
        Placed(score, ranking, fractions=fractions, by_seed=score == "random")
        for score in sweep.scores
        for ranking in sweep.rankings
        if fractions
    ]
    alone = [Placed(sweep.scores[0], kind=kind, fractions=(float(kind != "expert"),)) for kind in sweep.kinds]
    return [*ranked, *alone]


def run_sweep(
    sweep: Sweep, output: Path, *, workers: int = -1, scheduler: str | None = None, force: bool = False
) -> int:
    """Runs what isn't done yet and writes the table of results (see `hetc.results`).

    Args:
        sweep: What to measure.
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
    if output.suffix not in FORMATS:
        raise UsageError(f"output {output}: the name must end in {' or '.join(FORMATS)}")
    partial = output.with_name(f"{output.name}.partial")
    model = load_moe_model(sweep.model)
    windows = load_tokens(sweep.data, sweep.window)[: sweep.windows]
    origin = _origin(sweep, model, windows)
    files = {job: partial / f"{_key(job, sweep, origin)}.json" for job in jobs_of(sweep)}
    with whole_file(output, force=force) as staging:
        partial.mkdir(exist_ok=True)
        left = [job for job, file in files.items() if not file.is_file()]
        with tempfile.TemporaryDirectory(dir=partial, prefix="bundles-") as folder:
            if left:
                _compile(sweep, left, placements_of(sweep), find_units(model.model), Path(folder))
            del model
            for job, rows in _measure_all(sweep, left, Path(folder), windows, workers, scheduler):
                with whole_file(files[job]) as part:
                    part.write_text(json.dumps(rows), "utf-8")
        rows = [{**row, **origin} for file in files.values() for row in json.loads(file.read_text("utf-8"))]
        write_results(staging, rows, output.suffix)
    shutil.rmtree(partial)
    return len(rows)


def estimate_sweep(sweep: Sweep) -> str:
    """How much there is to do and how long it takes here, from one measurement that is made now."""
    windows = load_tokens(sweep.data, sweep.window)[: sweep.windows]
    units = find_units(load_moe_model(sweep.model).model)
    jobs, placements = jobs_of(sweep), placements_of(sweep)
    one = replace(placements[0], fractions=placements[0].fractions[:1])
    with tempfile.TemporaryDirectory(dir=sweep.model.parent, prefix=".sweep-") as folder:
        _compile(sweep, jobs[:1], [one], units, Path(folder))
        start = time.perf_counter()
        measure_job(jobs[0], [one], Path(folder), windows)
        seconds = time.perf_counter() - start
    most = len(jobs) * sum(len(placed.fractions) for placed in placements)
    cores = os.cpu_count() or 1
    hours, minutes = divmod(round(most * seconds / cores / 60), 60)
    return (
        f"{len(jobs)} programmings of the weights, at most {most:,} measurements of {windows.size:,} tokens; "
        f"one takes {seconds:.1f} s on one thread: at most {hours} h {minutes:02} min on {cores} cores"
    )


def measure_job(job: Job, placements: Sequence[Placed], bundles: Path, windows: np.ndarray) -> list[Row]:
    """Loss and accuracy of every placement under one programming, as rows of the table."""
    measured: dict[frozenset[str], Mapping[str, float]] = {}
    keep = None
    rows = []
    for placed in placements:
        bundle = load_bundle(bundles / placed.folder(job))
        for fraction in placed.fractions:
            units = targets_at(bundle.plan, fraction)
            analog = frozenset(unit.id for unit in units if unit.target == "analog")
            if analog not in measured:
                session = bundle.session(
                    seed=job.seed, noise_scale=job.noise_scale, digital_frac=fraction, threads=1
                )
                losses, hits = predict_tokens(session_forward(session), windows)
                measured[analog] = {"loss": float(losses.mean()), "accuracy": float(hits.mean())}
                keep = keep or session  # sessions that come later share what is programmed while it lives
            rows += [
                {
                    "fraction": float(fraction),
                    "score": placed.label,
                    "ranking": placed.ranking,
                    "seed": job.seed,
                    "noise": job.noise,
                    "noise_scale": job.noise_scale,
                    "metric": metric,
                    "value": value,
                    "unit": {"loss": "nats/token"}.get(metric, ""),
                    "higher_is_better": metric == "accuracy",
                    "kind": placed.kind,
                }
                for metric, value in measured[analog].items()
            ]
    return rows


def _measure_all(
    sweep: Sweep,
    jobs: Sequence[Job],
    bundles: Path,
    windows: np.ndarray,
    workers: int,
    scheduler: str | None,
) -> Iterator[tuple[Job, list[Row]]]:
    """Results of the jobs as they come."""
    import joblib

    placements = placements_of(sweep)
    with _executor(scheduler), progress("sweep", len(jobs)) as advance:
        parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)
        for job, rows in parallel(
            joblib.delayed(_measure)(job, placements, bundles, windows) for job in jobs
        ):
            advance(1)
            yield job, rows


def _measure(
    job: Job, placements: Sequence[Placed], bundles: Path, windows: np.ndarray
) -> tuple[Job, list[Row]]:
    return job, measure_job(job, placements, bundles, windows)


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
    sweep: Sweep, jobs: Sequence[Job], placements: Sequence[Placed], units: Sequence[Unit], folder: Path
) -> None:
    """One bundle for each placement and noise, and for each seed where the order follows it."""
    scores = _measured_scores(sweep)
    wanted = {placed.folder(job): (placed, job) for job in jobs for placed in placements}
    # Hard links where the file system allows: a sweep of a large model would otherwise copy it many times.
    link = sweep.model.stat().st_dev == folder.stat().st_dev
    with progress("compiling", len(wanted)) as advance:
        for name, (placed, job) in wanted.items():
            alone = [unit.id for unit in units if unit.kind == placed.kind and unit.kind in DENSE]
            compile(
                sweep.model,
                folder / name,
                digital_frac=placed.fractions[0],
                score=placed.score,
                scores=scores,
                ranking=placed.ranking,
                analog=[*sweep.analog, *alone],
                digital=sweep.digital,
                profile=load_profile(sweep.profile).with_noise(job.noise, None),
                seed=job.seed,
                link=link,
            )
            advance(1)


def _measured_scores(sweep: Sweep) -> Scores:
    """All measured scores, whichever file they come from."""
    files = [load_scores(file) for file in sweep.scores_files]
    return Scores({name: values for file in files for name, values in file.values.items()})


def _origin(sweep: Sweep, model: LoadedModel, windows: np.ndarray) -> Row:
    """What every row was measured on and with."""
    return {
        "task": sweep.data.stem,
        "model": model.source["sha256"],
        "data": hashlib.sha256(windows.tobytes()).hexdigest(),
        "tokens": windows.size,
        "window": sweep.window,
        "profile": sweep.profile,
        "store": "bfloat16",
        "scores_files": " ".join(map(_sha256, sweep.scores_files)),
        "analog": " ".join(sweep.analog),
        "digital": " ".join(sweep.digital),
        "hetc": __version__,
    }


def _key(job: Job, sweep: Sweep, origin: Row) -> str:
    """Names the file of a job's rows: another input gives another name."""
    inputs = [asdict(job), origin, [asdict(placed) for placed in placements_of(sweep)]]
    profile = load_profile(sweep.profile).to_dict()
    return hashlib.sha256(json.dumps([inputs, profile]).encode()).hexdigest()[:16]


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
