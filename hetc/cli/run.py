"""`hetc run`: generate text with a bundle."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hetc.cli.output import as_lines
from hetc.operators.words import MODES, Mode

__all__ = ["run_command"]


@click.command("run")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--prompt", required=True, help="Text to continue.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--mode", type=click.Choice(MODES), help="[default: noisy]")
@click.option("--seed", type=int, help="Programming seed.  [default: the plan's]")
@click.option("--noise-scale", type=float, metavar="C", help="Factor on the programming noise.")
@click.option("--digital-frac", metavar="F", help="Raise the digital fraction for this run.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the session.")
def run_command(
    bundle: Path,
    prompt: str,
    max_new_tokens: int,
    mode: Mode | None,
    seed: int | None,
    noise_scale: float | None,
    digital_frac: str | None,
    threads: int | None,
) -> None:
    """Continue a prompt, greedily, token by token."""
    from hetc.base.progress import progress
    from hetc.base.text import as_utf8
    from hetc.bundle.bundle import load_bundle
    from hetc.evaluation.generate import generate_text

    prompt = as_utf8(prompt)
    opened = load_bundle(bundle)
    with progress("opening the bundle"):
        session = opened.session(
            mode=mode, seed=seed, noise_scale=noise_scale, digital_frac=digital_frac, threads=threads
        )
    pieces = generate_text(session, opened.path, prompt, max_new_tokens)
    with progress("programming the first experts"):
        first = next(pieces, "")
    # A model may say anything; a terminal would act on it.
    show = as_lines if sys.stdout.isatty() else str
    click.echo(prompt + show(first), nl=False)
    for piece in pieces:
        click.echo(show(piece), nl=False)
    click.echo()
