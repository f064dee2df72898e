"""Measures a model over fractions, scores, noises and seeds; each programming of the weights is a job.

Finished jobs are kept beside the output, so that a sweep that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hetc.base.errors import UsageError
from hetc.base.output import whole_file
from hetc.compiler.loading import load_moe_model
from hetc.evaluation.origin import digest, plan_digest, runtime_columns, tasks_digest, tokens_digest
from hetc.evaluation.results import Row
from hetc.evaluation.results_file import check_format, write_results
from hetc.evaluation.sweep_jobs import Job, Work, jobs_of, placements_of
from hetc.evaluation.sweep_plans import plans_of, write_plans
from hetc.evaluation.sweep_spec import Sweep, load_sweep
from hetc.evaluation.sweep_workers import measure_all
from hetc.model.generation_config import first_token
from hetc.model.load import LoadedModel, sha256
from hetc.model.text_files import TEXT_FILES, lies_in
from hetc.model.token_files import read_tokens
from hetc.model.tokenizer import load_tokenizer
from hetc.model.tokens import token_windows
from hetc.model.weights import measured_files
from hetc.passes.analysis.find_units import find_units
from hetc.plan.plan import Plan
from hetc.plan.units import vocabulary_of

__all__ = ["Prepared", "job_files", "prepare", "sweep"]

logger = logging.getLogger(__name__)

PLANS = "plans-"
"""Begins the name of the folder for plans and bundles, which only a sweep that runs has."""


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
            with `.partial` at its end, which goes when the table is complete. Those of a sweep of other
            inputs stay there, for that sweep to go on.
        workers: Processes on this machine; -1 for its cores, or for one where a checkpoint is measured.
        scheduler: Address of a Dask scheduler whose workers see the same files; None for this machine.
        force: Whether `output` may be replaced.

    Returns:
        How many rows were written.

    Raises:
        UsageError: The output exists or another sweep writes it, or a score that isn't known or wasn't
            measured.
        InvalidInputError: A value that its key can't have, or something that the model lacks.
        RuntimeMissingError: A package or the library is missing.
    """
    asked, output = spec if isinstance(spec, Sweep) else load_sweep(Path(spec)), Path(output)
    check_format(output)
    partial = output.with_name(f"{output.name}.partial")
    with whole_file(output, force=force) as staging:
        prepared = prepare(asked)
        files = job_files(prepared, partial)
        _open_partial(partial)
        left = [job for job, file in files.items() if not file.is_file()]
        if left:
            _measure(prepared, left, files, workers, scheduler)
        rows = [row for file in files.values() for row in json.loads(file.read_text("utf-8"))]
        write_results(staging, rows, output.suffix)
    for file in files.values():
        file.unlink()
    with suppress(OSError):
        partial.rmdir()
    if partial.is_dir():
        logger.info("%s keeps the finished jobs of a sweep of other inputs", partial)
    return len(rows)


@dataclass(frozen=True)
class Prepared:
    """A sweep of which all that can be known before measuring is known, and checked.

    Attributes:
        work: What its jobs share.
        jobs: What to do.
        model: The model.
        plans: The plan of each placement, by the name of its folder.
    """

    work: Work
    jobs: Sequence[Job]
    model: LoadedModel
    plans: Mapping[str, Plan]


def prepare(sweep: Sweep) -> Prepared:
    """Opens what a sweep names, makes its plans and hashes its inputs; errors as for `sweep`."""
    jobs, placements = jobs_of(sweep), placements_of(sweep)
    model = load_moe_model(sweep.model)
    windows = _windows(sweep, model)
    tasks = _tasks(sweep)
    plans = plans_of(sweep, model, jobs, placements)
    files = [file.sha256 for file in measured_files(model.model).values()]
    beside = sweep.model.parent
    files += [sha256(beside / name) for name in TEXT_FILES if lies_in(beside, beside / name)]
    origin: Row = {
        "model_sha256": model.source["sha256"],
        "files_sha256": digest(sorted(files)) if files else "",
        "scores_files": " ".join(map(sha256, sweep.scores_files)),
        "analog": " ".join(sweep.analog),
        "digital": " ".join(sweep.digital),
        **runtime_columns(sweep.checkpoint, sweep.device, tasks),
    }
    data: Row = {}
    if windows is not None:
        data = {"data_sha256": tokens_digest(windows), "tokens": windows.size, "window": windows.shape[1]}
    work = Work(
        sweep=sweep,
        placements=placements,
        plans={name: plan_digest(plan) for name, plan in plans.items()},
        windows=windows,
        origin=origin,
        data=data,
        tasks={
            task: {"tasks_sha256": tasks_digest(task, sweep.include_path), "limit": sweep.limit}
            for task in tasks
        },
    )
    return Prepared(work, jobs, model, plans)


def job_files(prepared: Prepared, partial: Path) -> dict[Job, Path]:
    """Where the rows of each job are kept; any input that changes them gives another name."""
    work = prepared.work
    name = "" if work.sweep.data is None else work.sweep.data.stem
    genai = work.sweep.model.parent / "genai_config.json"
    inputs = [work.origin, name, work.data, work.tasks, sha256(genai) if genai.is_file() else ""]

    def key(job: Job) -> str:
        plans = [[asdict(placed), work.plans[placed.folder(job)]] for placed in work.placements]
        return digest([job.profile.digest, job.seed, plans, inputs])[:16]

    return {job: partial / f"{key(job)}.json" for job in prepared.jobs}


def _windows(sweep: Sweep, model: LoadedModel) -> np.ndarray | None:
    """The tokens to foretell, all of which the model knows, if the sweep has data."""
    if sweep.data is None:
        return None
    vocabulary = vocabulary_of(find_units(model.model))
    tokens = read_tokens(sweep.data, sweep.tokenizer)
    return token_windows(tokens, sweep.window, sweep.windows, vocabulary=vocabulary)


def _tasks(sweep: Sweep) -> tuple[str, ...]:
    """The names of the sweep's tasks, all of which lm-eval knows, for a model with a tokenizer."""
    if not sweep.tasks:
        return ()
    from hetc.evaluation.tasks import check_tasks, task_names

    tasks = task_names(",".join(sweep.tasks))
    check_tasks(tasks, sweep.include_path)
    folder = sweep.checkpoint or sweep.model.parent
    load_tokenizer(folder)
    first_token(folder)
    return tasks


def _open_partial(partial: Path) -> None:
    """Makes the folder of finished jobs; plans of a sweep that was killed go."""
    if (partial.exists() or partial.is_symlink()) and not partial.is_dir():
        raise UsageError(f"{partial} is in the way of the sweep's finished jobs; remove it")
    partial.mkdir(exist_ok=True)
    for leftover in partial.glob(f"{PLANS}*"):
        shutil.rmtree(leftover)


def _measure(
    prepared: Prepared,
    jobs: Sequence[Job],
    files: Mapping[Job, Path],
    workers: int,
    scheduler: str | None,
) -> None:
    """Does jobs, and writes each one's rows when it is done."""
    work = prepared.work
    needed = {placed.folder(job) for job in jobs for placed in work.placements}
    with tempfile.TemporaryDirectory(dir=files[jobs[0]].parent, prefix=PLANS) as name:
        folder = Path(name).absolute()
        plans = {name: plan for name, plan in prepared.plans.items() if name in needed}
        write_plans(work.sweep, prepared.model, plans, folder)
        for job, rows in measure_all(work, jobs, folder, workers, scheduler):
            with whole_file(files[job]) as part:
                part.write_text(json.dumps(rows), "utf-8")
