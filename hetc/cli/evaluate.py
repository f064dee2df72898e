"""`hetc evaluate`: accuracy on tasks of lm-eval, loss on tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hetc.base.extras import needs
from hetc.base.progress import progress
from hetc.cli.command import command
from hetc.cli.data_options import data_options
from hetc.cli.output import print_json, say
from hetc.model.batch_limit import BatchSize
from hetc.operators.words import MODES, Mode

if TYPE_CHECKING:
    from hetc.evaluation.differences import Rows
    from hetc.model.tokens import TokensLike

__all__ = ["evaluate_command"]


class BatchType(click.IntRange):
    """A number of texts, or `auto`: as many as fit."""

    name = "number|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "auto" else super().convert(value, param, ctx)


def numbers(text: str) -> list[float]:
    """Numbers by commas."""
    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is no number, or several by commas") from None


@command("evaluate")
@click.argument("target", metavar="X", type=click.Path(path_type=Path))
@click.option("--tasks", default="", help="Names that lm-eval knows, by commas; `paper` for the paper's.")
@data_options(required=False)
@click.option("--window", type=click.IntRange(min=2), default=256, show_default=True, help="Tokens in a row.")
@click.option("--windows", type=click.IntRange(min=1), default=32, show_default=True, help="Rows, at most.")
@click.option("--include-path", type=click.Path(path_type=Path), help="Folder with task files of your own.")
@click.option("--limit", type=click.IntRange(min=1), help="Questions of each task, at most.")
@click.option("--checkpoint", help="Run the plan of X on this folder or hf://OWNER/NAME, in torch.")
@click.option("--device", default="cpu", show_default=True, help="Where torch computes, such as cuda.")
@click.option("--batch", type=BatchType(min=1), default="auto", show_default=True, help="Texts at a time.")
@click.option("--mode", type=click.Choice(MODES), help="[default: noisy]")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Programmings.")
@click.option("--noise-scale", type=numbers, metavar="C[,C...]", help="Factors on programming noise.")
@click.option("--baseline", is_flag=True, help="Mode exact as well, and the differences from it.")
@click.option("--drift-time", type=float, metavar="SECONDS", help="Since programming.")
@click.option("--digital-frac", metavar="F", help="Raise the digital fraction.")
@click.option("--low-memory", is_flag=True, help="Keep no weights twice, such as those that are programmed.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Table of results: .parquet or .csv.")
@click.option("--force", is_flag=True, help="Replace an existing table.")
def evaluate_command(
    target: Path,
    tasks: str,
    data: TokensLike | None,
    window: int,
    windows: int,
    include_path: Path | None,
    limit: int | None,
    checkpoint: str | None,
    device: str,
    batch: BatchSize,
    mode: Mode | None,
    seeds: int,
    noise_scale: list[float] | None,
    baseline: bool,
    drift_time: float | None,
    digital_frac: str | None,
    low_memory: bool,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Measure X, a bundle, or a plan.json with its --checkpoint: loss on --data, or accuracy on --tasks."""
    if tasks:
        with needs("evaluate", "hetc evaluate --tasks"), progress("loading lm-eval"):
            import lm_eval  # noqa: F401
    from hetc.evaluation.evaluate import evaluate

    rows = evaluate(
        target,
        tasks,
        output,
        data=data,
        window=window,
        windows=windows,
        checkpoint=checkpoint,
        device=device,
        batch=batch,
        seeds=seeds,
        mode=mode,
        noise_scale=noise_scale,
        baseline=baseline,
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


def _print(rows: Rows) -> None:
    """A line for each task, metric and noise, over the seeds, with the distance from mode exact."""
    from rich.table import Table

    from hetc.cli.output import new_console
    from hetc.evaluation.results import MEASURED

    found = rows.differences()
    measured = MEASURED if any(row["noise"] == MEASURED for row in rows) else ""
    compared = any(each.difference is not None for each in found)
    columns = ("task", "metric", "noise", "mean", "deviation", "seeds")
    table = Table(*columns, *(["less exact", "95 % of it"] * compared), box=None, pad_edge=False)
    for each in found:
        noise = measured or f"c = {each.noise_scale:g}" if each.mode == "noisy" else each.mode
        cells = [f"{each.mean:.4f}", f"{each.deviation:.4f}", str(each.seeds)]
        if compared:
            cells.append("" if each.difference is None else f"{each.difference:+.4f}")
            cells.append("" if each.margin is None else f"± {each.margin:.4f}")
        table.add_row(each.task, each.metric, noise, *cells)
    console = new_console()
    console.print(table)
    if any(each.difference is not None and each.margin is None for each in found):
        console.print("one programming has no interval; give --seeds 2 or more")
