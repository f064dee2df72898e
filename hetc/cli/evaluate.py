"""`hetc evaluate`: accuracy on tasks of lm-eval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hetc.base.extras import needs
from hetc.base.progress import progress
from hetc.cli.command import command
from hetc.cli.output import print_json, say
from hetc.model.batch_limit import BatchSize
from hetc.operators.words import MODES, Mode

__all__ = ["evaluate_command"]


class BatchType(click.IntRange):
    """A number of texts, or `auto`: as many as fit."""

    name = "number|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "auto" else super().convert(value, param, ctx)


@command("evaluate")
@click.argument("target", metavar="X", type=click.Path(path_type=Path))
@click.option("--tasks", required=True, help="Names that lm-eval knows, by commas; `paper` for the paper's.")
@click.option("--include-path", type=click.Path(path_type=Path), help="Folder with task files of your own.")
@click.option("--limit", type=click.IntRange(min=1), help="Questions of each task, at most.")
@click.option("--checkpoint", help="Run the plan of X on this folder or hub id, in torch.")
@click.option("--device", default="cpu", show_default=True, help="Where torch computes, such as cuda.")
@click.option("--batch", type=BatchType(min=1), default="auto", show_default=True, help="Texts at a time.")
@click.option("--mode", type=click.Choice(MODES), help="[default: noisy]")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Programmings.")
@click.option("--noise-scale", type=float, metavar="C", help="Factor on the programming noise.")
@click.option("--drift-time", type=float, metavar="SECONDS", help="Since programming.")
@click.option("--digital-frac", metavar="F", help="Raise the digital fraction.")
@click.option("--low-memory", is_flag=True, help="Keep no weights twice, such as those that are programmed.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Table of results: .parquet or .csv.")
@click.option("--force", is_flag=True, help="Replace an existing table.")
def evaluate_command(
    target: Path,
    tasks: str,
    include_path: Path | None,
    limit: int | None,
    checkpoint: str | None,
    device: str,
    batch: BatchSize,
    mode: Mode | None,
    seeds: int,
    noise_scale: float | None,
    drift_time: float | None,
    digital_frac: str | None,
    low_memory: bool,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Ask X, a bundle, or a plan.json with its --checkpoint, the questions of lm-eval's tasks."""
    with needs("evaluate", "hetc evaluate"), progress("loading lm-eval"):
        from hetc.evaluation.evaluate import evaluate

    rows = evaluate(
        target,
        tasks,
        output,
        checkpoint=checkpoint,
        device=device,
        batch=batch,
        seeds=seeds,
        mode=mode,
        noise_scale=noise_scale,
        drift_time=drift_time,
        digital_frac=digital_frac,
        low_memory=low_memory,
        include_path=include_path,
        limit=limit,
        force=force,
    )
    if output is not None:
        say(f"wrote {len(rows):,} results to {output}")
    if as_json:
        print_json({"results": rows})
    else:
        _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    """A line for each task and metric, over the seeds."""
    from rich.table import Table

    from hetc.cli.output import new_console
    from hetc.evaluation.results import group_results, mean_and_deviation, to_results

    table = Table("task", "metric", "mean", "deviation", "seeds", box=None, pad_edge=False)
    for (task, metric), results in group_results(
        to_results(rows), lambda result: (result.task, result.metric)
    ).items():
        mean, deviation = mean_and_deviation(results)
        table.add_row(task, metric, f"{mean:.4f}", f"{deviation:.4f}", str(len(results)))
    new_console().print(table)
