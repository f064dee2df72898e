"""`hetc run`: generate text with a bundle, or with a plan on its checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hetc.base.errors import UsageError
from hetc.cli.command import command
from hetc.cli.hardware_options import noise_scale_option
from hetc.cli.output import as_lines, print_json
from hetc.operators.words import MODES, Mode

__all__ = ["run_command"]


@command("run")
@click.argument("target", metavar="X", type=click.Path(path_type=Path))
@click.option("--prompt", required=True, help="Text to continue.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--checkpoint", help="Run the plan of X on this folder or hf://OWNER/NAME, in torch.")
@click.option("--device", help="Where torch computes a checkpoint: cuda, auto, ...  [default: cpu]")
@click.option("--mode", type=click.Choice(MODES), help="[default: noisy]")
@click.option("--seed", type=int, help="Programming seed.  [default: the plan's]")
@noise_scale_option
@click.option("--digital-frac", metavar="F", help="Raise the digital fraction for this run.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of a bundle's session.")
@click.option(
    "--low-memory",
    is_flag=True,
    help="Weights are not kept twice: a GPU holds no clean ones of analog units, a session packs none.",
)
def run_command(
    target: Path,
    prompt: str,
    max_new_tokens: int,
    checkpoint: str | None,
    device: str | None,
    mode: Mode | None,
    seed: int | None,
    noise_scale: float | None,
    digital_frac: str | None,
    threads: int | None,
    low_memory: bool,
    as_json: bool,
) -> None:
    """Continue a prompt with X, a bundle, or a plan.json with its --checkpoint, greedily, token by token."""
    from hetc.evaluation.run import run

    if checkpoint is None and device is not None:
        raise UsageError("--device says where torch computes; give the --checkpoint that it is to run")
    if checkpoint is not None and threads is not None:
        raise UsageError(
            "--threads is for a bundle's session; with a checkpoint, OMP_NUM_THREADS in the environment "
            "says how many threads torch takes"
        )
    pieces = run(
        target,
        prompt,
        max_new_tokens=max_new_tokens,
        checkpoint=checkpoint,
        device=device or "cpu",
        mode=mode,
        seed=seed,
        noise_scale=noise_scale,
        digital_frac=digital_frac,
        threads=threads,
        low_memory=low_memory,
    )
    if as_json:
        print_json({"prompt": prompt, "text": "".join(pieces)})
        return
    first = next(pieces, "")
    # A model may say anything; a terminal would act on it.
    show = as_lines if sys.stdout.isatty() else str
    click.echo(prompt + show(first), nl=False)
    for piece in pieces:
        click.echo(show(piece), nl=False)
    click.echo()
