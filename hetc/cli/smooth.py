"""`hetc smooth`: the same model with smoother inputs for its crossbars."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["smooth_command"]


@click.command("smooth")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="An .npz file with an array `tokens`."
)
@click.option("--window", type=click.IntRange(min=1), default=256, show_default=True, help="Tokens per run.")
@click.option("--windows", type=click.IntRange(min=1), default=32, show_default=True, help="Runs, at most.")
@click.option("--strength", type=float, default=0.5, show_default=True, help="0 to 1: how much of it.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option("--force", is_flag=True, help="Replace an existing folder.")
def smooth_command(
    model: Path, data: Path, window: int, windows: int, strength: float, output: Path, force: bool
) -> None:
    """Move the spread of MODEL's channels from activations into weights, behind every norm.

    The result computes what MODEL does; only noise and converters see the difference.
    """
    from hetc.record import load_tokens
    from hetc.smoothing import smooth_model

    count = smooth_model(model, load_tokens(data, window)[:windows], output, strength=strength, force=force)
    click.echo(f"smoothed {count} norms into {output}", err=True)
    click.echo(f"next: hetc compile {output / 'model.onnx'}", err=True)
