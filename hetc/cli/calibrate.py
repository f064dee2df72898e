"""`hetc calibrate`: record what enters the crossbars on calibration text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hetc.cli.command import command
from hetc.cli.data_options import data_options
from hetc.cli.hardware_options import profile_option
from hetc.cli.output import as_written, print_json, say

if TYPE_CHECKING:
    from hetc.model.tokens import TokensLike

__all__ = ["calibrate_command"]


@command("calibrate")
@click.argument("model", type=click.Path(path_type=Path))
@data_options(required=False)
@click.option("--window", type=click.IntRange(min=1), default=256, show_default=True, help="Tokens per run.")
@click.option(
    "--merge", multiple=True, type=click.Path(path_type=Path), help="Add this calibration; repeatable."
)
@profile_option
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def calibrate_command(
    model: Path,
    data: TokensLike | None,
    window: int,
    merge: tuple[Path, ...],
    profile: str | None,
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Record MODEL, a path or hf://OWNER/NAME, on text, for static input ranges and scores that need data."""
    from hetc.compiler.recording import calibrate
    from hetc.hardware.profile import DEFAULT_PROFILE

    recorded = calibrate(
        model,
        data,
        output,
        window=window,
        profile=DEFAULT_PROFILE if profile is None else profile,
        merge=merge,
        force=force,
    )
    used = sum(use.tokens > 0 for use in recorded.routing.values())
    chosen = f"; {used} of {len(recorded.routing)} experts were chosen" if recorded.routing else ""
    say(f"{recorded.tokens:,} tokens{chosen}")
    say(f"next: hetc compile {as_written(model)} --calibration {output}")
    if as_json:
        routing = {unit: use.tokens for unit, use in recorded.routing.items()}
        print_json({"file": output, "tokens": recorded.tokens, "tokens_by_expert": routing})
