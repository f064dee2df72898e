"""Accuracy of a bundle, or of a plan on its checkpoint, on tasks of lm-eval."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hetc.base.errors import UsageError
from hetc.base.output import whole_file
from hetc.bundle.bundle import Bundle
from hetc.bundle.files import WEIGHTS
from hetc.bundle.writer import INLINE
from hetc.compiler.loading import open_placed
from hetc.evaluation.origin import digest, plan_digest, runtime_columns, tasks_digest
from hetc.evaluation.results import Row, finite, placement_of
from hetc.evaluation.results_file import check_format, write_results
from hetc.evaluation.running import running
from hetc.evaluation.tasks import LanguageModel, check_tasks, run_tasks, task_names
from hetc.huggingface.checkpoint import resolve_source
from hetc.model.batch_limit import BatchLimit, BatchSize
from hetc.model.load import LoadedModel
from hetc.model.text_files import TEXT_FILES
from hetc.operators.words import Mode
from hetc.plan.fractions import FractionLike
from hetc.plan.plan import Plan

__all__ = ["evaluate"]


def evaluate(
    target: str | Path | Bundle | Plan,
    tasks: str | Sequence[str],
    output: str | Path | None = None,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    batch: BatchSize = "auto",
    seeds: int = 1,
    mode: Mode | None = None,
    noise_scale: float | None = None,
    drift_time: float | None = None,
    digital_frac: FractionLike | None = None,
    low_memory: bool = False,
    include_path: Path | None = None,
    limit: int | None = None,
    force: bool = False,
) -> list[Row]:
    """Asks a model the questions of tasks.

        >>> import hetc
        >>> bundle = hetc.compile("samples/tiny_moe/model.onnx", "asked.hetc")
        >>> rows = hetc.evaluate(bundle, "stdlib_next_line", include_path="samples/tasks", limit=4)
        >>> {row["task"] for row in rows}
        {'stdlib_next_line'}

    Args:
        target: A bundle; or a plan, with its checkpoint; or the path of one.
        tasks: Names that lm-eval knows, one by one or separated by commas; `paper` for those of the paper.
        output: A table to write, `.parquet` or `.csv`; None for none.
        checkpoint: Run the plan on this folder or hub id, in torch.
        device: Where torch computes.
        batch: Texts at a time; `auto` for as many tokens as a CPU needs to be busy, or a GPU has memory for.
            The results don't depend on it.
        seeds: How many programmings of the weights; for one, its seed is the plan's.
        mode: `exact`, `converters` or `noisy`; None for noisy.
        noise_scale: Factor c on the programming noise; None for the profile's.
        drift_time: Seconds since programming; None for the profile's.
        digital_frac: A larger digital fraction.
        low_memory: Keep no weights twice, as for `Bundle.session` and a plan on a live model.
        include_path: Folder with task files of your own.
        limit: The first so many questions of each task; None for all.
        force: Replace an existing table.

    Returns:
        For each seed, task and metric a row of the table of results (`results.schema.json`).

    Raises:
        UsageError: A task that isn't known, a plan without a checkpoint, a batch that is none, or the output
            exists; before a question is asked.
        InvalidInputError: A model without a tokenizer, or a checkpoint that isn't the plan's.
        RuntimeMissingError: A task's data can't be reached, or the library is missing.
    """
    if output is not None:
        check_format(Path(output))
    BatchLimit.of(batch)
    names = task_names(tasks if isinstance(tasks, str) else ",".join(tasks))
    include = None if include_path is None else Path(include_path)
    with nullcontext() if output is None else whole_file(Path(output), force=force) as staging:
        check_tasks(names, include)
        opened = target if isinstance(target, (Bundle, Plan)) else open_placed(target)
        if isinstance(opened, LoadedModel):
            raise UsageError(f"{target} is a model; compile it, then evaluate the bundle")
        folder = None if checkpoint is None else resolve_source(checkpoint)
        origin = _origin(opened, folder, device, names)
        hashes = {name: tasks_digest(name, include) for name in names}
        rows: list[Row] = []
        for seed in range(seeds):
            choices: dict[str, Any] = {
                "mode": mode,
                "seed": seed if seeds > 1 else None,
                "noise_scale": noise_scale,
                "drift_time": drift_time,
                "digital_frac": digital_frac,
            }
            with running(opened, folder, device, batch=batch, low_memory=low_memory, **choices) as model:
                asked = LanguageModel(model.predict, model.generate, model.folder)
                found = run_tasks(asked, names, include=include, limit=limit)
            for row in found:
                what = {"tasks_sha256": hashes[row["task"]], "limit": limit or 0, **origin}
                rows.append({**_placement(opened, choices), **row, "value": finite(row["value"]), **what})
        if staging is not None and output is not None:
            write_results(staging, rows, Path(output).suffix)
    return rows


def _origin(opened: Bundle | Plan, checkpoint: Path | None, device: str, tasks: Sequence[str]) -> Row:
    """The columns that say what was measured on and with."""
    plan, files = (opened.plan, _files(opened)) if isinstance(opened, Bundle) else (opened, [])
    return {
        "model_sha256": plan.source["sha256"],
        "files_sha256": digest(files) if files else "",
        "plan_sha256": plan_digest(plan),
        **runtime_columns(checkpoint, device, tasks),
    }


def _files(bundle: Bundle) -> list[str]:
    """sha256 of the weights, tokenizer and configuration that the bundle's model had beside it."""
    files = ((Path(name), entry["sha256"]) for name, entry in bundle.manifest.items())
    return sorted(
        each
        for file, each in files
        if str(file) in TEXT_FILES or (file.parts[0] == WEIGHTS and file.name != INLINE)
    )


def _placement(opened: Bundle | Plan, choices: dict[str, Any]) -> Row:
    """The columns of what was placed and programmed; a baked bundle was programmed when it was made."""
    if not isinstance(opened, Bundle) or opened.baked is None:
        return placement_of(opened.plan if isinstance(opened, Bundle) else opened, **choices)
    baked = {key: opened.baked[key] for key in ("seed", "noise_scale", "drift_time")}
    return placement_of(opened.plan, **baked)
