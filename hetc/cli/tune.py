"""`hetc tune`: the smallest digital share that keeps a metric."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hetc.base.quantity import parse_share
from hetc.cli.command import command
from hetc.cli.cost_options import cost_basis, cost_options
from hetc.cli.data_options import data_options
from hetc.cli.output import print_json

if TYPE_CHECKING:
    from hetc.costing.work import Accounting
    from hetc.model.tokens import TokensLike
    from hetc.tuning.tune import Metric

__all__ = ["tune_command"]


@command("tune")
@click.argument("bundle", type=click.Path(path_type=Path))
@data_options()
@click.option("--max-drop", default="1%", show_default=True, help="Of exact mode's value, or in its unit.")
@click.option("--metric", default="loss", show_default=True, help="loss, or accuracy of the next token.")
@click.option("--window", type=click.IntRange(min=2), default=256, show_default=True, help="Tokens per run.")
@click.option("--windows", type=click.IntRange(min=1), default=16, show_default=True, help="Runs, at most.")
@click.option("--seeds", type=click.IntRange(min=2), default=8, show_default=True, help="Programmings.")
@click.option(
    "--confidence",
    type=parse_share,
    metavar="SHARE",
    default="95%",
    show_default=True,
    help="Of the interval of the mean.",
)
@click.option(
    "--drift-time", type=float, multiple=True, metavar="SECONDS", help="Repeatable.  [default: the plan's]"
)
@cost_options
def tune_command(
    bundle: Path,
    data: TokensLike,
    max_drop: str,
    metric: Metric,
    window: int,
    windows: int,
    seeds: int,
    confidence: float,
    drift_time: tuple[float, ...],
    costs: str | None,
    batch: int,
    context: int,
    accounting: Accounting,
    as_json: bool,
) -> None:
    """Find the smallest digital share of BUNDLE's experts that keeps a metric, and note it in the bundle."""
    from hetc.base.errors import VerificationError
    from hetc.cli.tune_summary import print_tuning
    from hetc.tuning.tune import tune

    tuning = tune(
        bundle,
        data,
        cost_basis(costs, batch, context, accounting),
        window=window,
        windows=windows,
        max_drop=max_drop,
        metric=metric,
        seeds=seeds,
        confidence=confidence,
        drift_times=drift_time,
    )
    if as_json:
        print_json(asdict(tuning))
    else:
        print_tuning(tuning)
    missed = [time for time, share in tuning.chosen if share is None]
    if missed:
        raise VerificationError(
            f"{bundle}: at drift time {missed[0]:g} s no share keeps {metric} within {max_drop}; "
            "keep dense modules digital, calibrate the converters, or allow more"
        )
