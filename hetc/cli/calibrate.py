"""`hetc calibrate`: record what enters the crossbars on calibration text."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["calibrate_command"]


@click.command("calibrate")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="An .npz file with an array `tokens`.")
@click.option("--window", type=click.IntRange(min=1), default=256, show_default=True, help="Tokens per run.")
@click.option(
    "--merge", multiple=True, type=click.Path(path_type=Path), help="Add this calibration; repeatable."
)
@click.option("--profile", help="Hardware profile: a name or a TOML file.  [default: pcm-512]")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def calibrate_command(
    model: Path,
    data: Path | None,
    window: int,
    merge: tuple[Path, ...],
    profile: str | None,
    output: Path,
    force: bool,
) -> None:
    """Record MODEL on text, for static input ranges and scores that need data."""
    from hetc.base.errors import UsageError
    from hetc.base.output import whole_file
    from hetc.compiler.recording import record
    from hetc.hardware.profile import DEFAULT_PROFILE, load_profile
    from hetc.model.load import sha256
    from hetc.model.tokens import load_tokens
    from hetc.plan.calibration import Calibration

    if data is None and not merge:
        raise UsageError("nothing to calibrate with; give --data, --merge, or both")
    hardware = load_profile(profile or DEFAULT_PROFILE)
    parts = [Calibration.load(path) for path in merge]
    with whole_file(output, force=force) as staging:
        if data is not None:
            parts.append(record(model, load_tokens(data, window), hardware))
        elif not model.is_file():
            raise UsageError(f"model {model}: no such file")
        whole = Calibration(sha256(model), hardware.tile_rows)
        for part in parts:
            whole.merge(part)
        whole.save(staging)
    used = sum(use.tokens > 0 for use in whole.routing.values())
    click.echo(f"{whole.tokens:,} tokens; {used} of {len(whole.routing)} experts were chosen", err=True)
    click.echo(f"next: hetc compile {model} --calibration {output}", err=True)
