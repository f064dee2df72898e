"""`hetc mitigate`: a model that noise and converters hurt less."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hetc.cli.data_options import data_options

if TYPE_CHECKING:
    from hetc.model.tokens import TokensLike

__all__ = ["mitigate_command"]


@click.command("mitigate")
@click.argument("model", type=click.Path(path_type=Path))
@data_options()
@click.option("--window", type=click.IntRange(min=1), default=256, show_default=True, help="Tokens per run.")
@click.option("--windows", type=click.IntRange(min=1), default=32, show_default=True, help="Runs, at most.")
@click.option(
    "--smooth",
    type=float,
    metavar="STRENGTH",
    help="Spread of inputs to move into weights: 0 to 1.",
)
@click.option(
    "--replace", type=click.IntRange(min=0), default=0, help="Least used experts of a layer that give way."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option("--force", is_flag=True, help="Replace an existing folder.")
def mitigate_command(
    model: Path,
    data: TokensLike,
    window: int,
    windows: int,
    smooth: float | None,
    replace: int,
    output: Path,
    force: bool,
) -> None:
    """Rewrite MODEL, without retraining, before it is compiled.

    --smooth rescales channels behind norms for the converters; the model computes what it did. --replace
    gives the place of rarely used experts to second copies of the most used ones: half the variance of their
    noise.
    """
    from hetc.compiler.mitigation import mitigate

    done = mitigate(
        model, data, output, smooth=smooth, replace=replace, window=window, windows=windows, force=force
    )
    click.echo(f"{' and '.join(done)} in {output}", err=True)
    click.echo(f"next: hetc compile {output / 'model.onnx'}", err=True)
