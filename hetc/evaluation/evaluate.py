"""Accuracy of a bundle, or of a plan on its checkpoint, on tasks of lm-eval and on plain tokens."""

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
from hetc.evaluation.differences import Rows
from hetc.evaluation.origin import digest, plan_digest, runtime_columns, tasks_digest
from hetc.evaluation.predictions import data_columns, prediction_rows
from hetc.evaluation.results import Row, finite, placement_of
from hetc.evaluation.results_file import check_format, write_results
from hetc.evaluation.running import running
from hetc.huggingface.checkpoint import resolve_source
from hetc.model.batch_limit import BatchLimit, BatchSize
from hetc.model.load import LoadedModel
from hetc.model.text_files import TEXT_FILES
from hetc.model.tokens import TokensLike, token_windows
from hetc.operators.words import Mode
from hetc.plan.fractions import FractionLike
from hetc.plan.plan import Plan
from hetc.plan.units import vocabulary_of

__all__ = ["evaluate"]


def evaluate(
    target: str | Path | Bundle | Plan,
    tasks: str | Sequence[str] = (),
    output: str | Path | None = None,
    *,
    data: TokensLike | None = None,
    window: int = 256,
    windows: int = 32,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    batch: BatchSize = "auto",
    seeds: int = 1,
    mode: Mode | None = None,
    noise_scale: float | Sequence[float] | None = None,
    baseline: bool = False,
    drift_time: float | None = None,
    digital_frac: FractionLike | None = None,
    low_memory: bool = False,
    include_path: Path | None = None,
    limit: int | None = None,
    force: bool = False,
) -> Rows:
    """Asks a model the questions of tasks, and how well it foretells tokens.

        >>> import hetc
        >>> bundle = hetc.compile("samples/tiny_moe/model.onnx", "asked.hetc")
        >>> rows = hetc.evaluate(bundle, "stdlib_next_line", include_path="samples/tasks", limit=4)
        >>> {row["task"] for row in rows}
        {'stdlib_next_line'}
        >>> tokens = "samples/tiny_moe/heldout.npz"
        >>> rows = hetc.evaluate(bundle, data=tokens, windows=1, noise_scale=[1, 8], seeds=2, baseline=True)
        >>> [(each.noise_scale, each.seeds) for each in rows.differences() if each.metric == "loss"]
        [(1.0, 1), (1.0, 2), (8.0, 2)]

    Args:
        target: A bundle; or a plan, with its checkpoint; or the path of one.
        tasks: Names that lm-eval knows, one by one or separated by commas; `paper` for those of the paper.
        data: Tokens to foretell, for loss and accuracy of the next one; their `task` is the file's name.
        window: Tokens of these in a row.
        windows: Such rows at most.
        output: A table to write, `.parquet` or `.csv`; None for none.
        checkpoint: Run the plan on this folder or hub id, in torch.
        device: Where torch computes.
        batch: Texts at a time; `auto` for as many tokens as a CPU needs to be busy, or a GPU has memory for.
            The results don't depend on it.
        seeds: How many programmings of the weights; for one, its seed is the plan's.
        mode: `exact`, `converters` or `noisy`; None for noisy.
        noise_scale: Factor c on the programming noise, or several; None for the profile's.
        baseline: Measure in mode exact as well, once, if that isn't the mode; `Rows.differences` are those
            from it.
        drift_time: Seconds since programming; None for the profile's.
        digital_frac: A larger digital fraction.
        low_memory: Keep no weights twice, as for `Bundle.session` and a plan on a live model.
        include_path: Folder with task files of your own.
        limit: The first so many questions of each task; None for all.
        force: Replace an existing table.

    Returns:
        For each scale, seed, task and metric a row of the table of results (`results.schema.json`).

    Raises:
        UsageError: Neither tasks nor data, a task that isn't known, a plan without a checkpoint, a batch that
            is none, a noise scale twice, seeds or noise scales of a mode without noise, or the output exists;
            before a question is asked.
        InvalidInputError: A model without a tokenizer, or a checkpoint that isn't the plan's.
        RuntimeMissingError: A task's data can't be reached, or the library is missing.
    """
    if output is not None:
        check_format(Path(output))
    BatchLimit.of(batch)
    names: tuple[str, ...] = ()
    if tasks:
        from hetc.evaluation.tasks import check_tasks, task_names

        names = task_names(tasks if isinstance(tasks, str) else ",".join(tasks))
    if not names and data is None:
        raise UsageError("nothing to ask: give tasks, or data to foretell")
    include = None if include_path is None else Path(include_path)
    with nullcontext() if output is None else whole_file(Path(output), force=force) as staging:
        if names:
            check_tasks(names, include)
        opened = target if isinstance(target, (Bundle, Plan)) else open_placed(target)
        if isinstance(opened, LoadedModel):
            raise UsageError(f"{target} is a model; compile it, then evaluate the bundle")
        plan = opened.plan if isinstance(opened, Bundle) else opened
        tokens = None
        if data is not None:
            tokens = token_windows(data, window, windows, vocabulary=vocabulary_of(plan.units))
        folder = None if checkpoint is None else resolve_source(checkpoint)
        origin = _origin(opened, folder, device, names)
        asked = {name: {"tasks_sha256": tasks_digest(name, include), "limit": limit or 0} for name in names}
        label = Path(data).stem if isinstance(data, (str, Path)) else "data"
        rows = Rows()
        for choices in _choices(mode, seeds, noise_scale, baseline=baseline):
            choices |= {"drift_time": drift_time, "digital_frac": digital_frac}
            where = {**_placement(opened, choices), **origin}
            with running(opened, folder, device, batch=batch, low_memory=low_memory, **choices) as model:
                if tokens is not None:
                    found = prediction_rows(model.predict, tokens, label)
                    rows += [{**where, **row, **data_columns(tokens)} for row in found]
                if names:
                    from hetc.evaluation.tasks import LanguageModel, run_tasks

                    questioned = LanguageModel(model.predict, model.generate, model.folder)
                    found = run_tasks(questioned, names, include=include, limit=limit)
                    rows += [{**where, **row, **asked[row["task"]]} for row in found]
        for row in rows:
            row["value"] = finite(row["value"])
        if staging is not None and output is not None:
            write_results(staging, rows, Path(output).suffix)
    return rows


def _choices(
    mode: Mode | None, seeds: int, noise_scale: float | Sequence[float] | None, *, baseline: bool
) -> list[dict[str, Any]]:
    """Mode, seed and noise scale of every run, the baseline first."""
    scales = noise_scale if isinstance(noise_scale, Sequence) else [noise_scale]
    if not scales:
        raise UsageError("no noise scale is given; leave it away for the profile's")
    if len(set(scales)) < len(scales):
        said = ", ".join(f"{scale:g}" for scale in scales)
        raise UsageError(f"noise scales {said}: one is there twice, and would count the same chips twice")
    if mode in ("exact", "converters") and (seeds > 1 or noise_scale is not None):
        raise UsageError(f"mode {mode} has no programming noise: leave seeds and noise scales away")
    exact: list[dict[str, Any]] = [{"mode": "exact", "seed": None, "noise_scale": None}]
    return exact * (baseline and mode != "exact") + [
        {"mode": mode, "seed": seed if seeds > 1 else None, "noise_scale": scale}
        for scale in scales
        for seed in range(seeds)
    ]


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
