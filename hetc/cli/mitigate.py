"""`hetc mitigate`: a model that noise and converters hurt less."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hetc.base.quantity import parse_share
from hetc.cli.command import command
from hetc.cli.data_options import data_options
from hetc.cli.output import print_json, say

if TYPE_CHECKING:
    from hetc.model.tokens import TokensLike

__all__ = ["mitigate_command"]


@command("mitigate")
@click.argument("model", type=click.Path(path_type=Path))
@data_options()
@click.option("--window", type=click.IntRange(min=1), default=256, show_default=True, help="Tokens per run.")
@click.option("--windows", type=click.IntRange(min=1), default=32, show_default=True, help="Runs, at most.")
@click.option(
    "--smooth",
    type=parse_share,
    metavar="STRENGTH",
    help="Spread of inputs to move into weights: 0 to 1, or in percent.",
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
    as_json: bool,
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
    say(f"{' and '.join(done)} in {output}")
    say(f"next: hetc compile {output / 'model.onnx'}")
    if as_json:
        print_json({"model": output / "model.onnx", "done": list(done)})
