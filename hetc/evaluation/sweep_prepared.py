"""All that can be known of a sweep before anything is measured: jobs, plans, and where finished jobs lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hetc.compiler.loading import load_moe_model
from hetc.evaluation.origin import digest, plan_digest, runtime_columns, tasks_digest
from hetc.evaluation.predictions import data_columns
from hetc.evaluation.results import Row
from hetc.evaluation.sweep_jobs import Job, Work, jobs_of, placements_of
from hetc.evaluation.sweep_plans import plans_of
from hetc.evaluation.sweep_spec import Sweep
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

__all__ = ["Prepared", "job_files", "prepare"]


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


def prepare(sweep: Sweep, kind: str | None = None) -> Prepared:
    """Opens what a sweep names, makes its plans and hashes its inputs.

    Args:
        sweep: What to measure.
        kind: What `device_kind` says of the devices that measure a checkpoint; None for the sweep's, here.

    Raises:
        HetcError: As for `hetc.evaluation.sweep.sweep`.
    """
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
        **runtime_columns(sweep.checkpoint, sweep.device, tasks, kind=kind),
    }
    data: Row = {}
    if windows is not None:
        data = data_columns(windows)
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
