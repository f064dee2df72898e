"""`hetc run`: generate text with a bundle, or with a plan on its checkpoint."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hetc.base.errors import UsageError
from hetc.cli.output import as_lines
from hetc.operators.words import MODES, Mode

if TYPE_CHECKING:
    from hetc.bundle.bundle import Bundle
    from hetc.plan.plan import Plan

__all__ = ["run_command"]


@click.command("run")
@click.argument("target", metavar="X", type=click.Path(path_type=Path))
@click.option("--prompt", required=True, help="Text to continue.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--checkpoint", help="Run the plan of X on this folder or hub id, in torch.")
@click.option("--device", help="Where torch computes a checkpoint: cuda, auto, ...  [default: cpu]")
@click.option("--mode", type=click.Choice(MODES), help="[default: noisy]")
@click.option("--seed", type=int, help="Programming seed.  [default: the plan's]")
@click.option("--noise-scale", type=float, metavar="C", help="Factor on the programming noise.")
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
) -> None:
    """Continue a prompt with X, a bundle, or a plan.json with its --checkpoint, greedily, token by token."""
    from hetc.base.progress import progress
    from hetc.base.text import as_utf8
    from hetc.bundle.bundle import load_bundle
    from hetc.compiler.loading import open_plan
    from hetc.evaluation.generate import generate_text
    from hetc.evaluation.running import running
    from hetc.huggingface.checkpoint import resolve_source
    from hetc.model.tokenizer import load_tokenizer

    prompt = as_utf8(prompt)
    opened: Bundle | Plan
    if checkpoint is None:
        if device is not None:
            raise UsageError("--device says where torch computes; give the --checkpoint that it is to run")
        opened = load_bundle(target)
        source, folder = None, opened.path
    else:
        if threads is not None:
            raise UsageError(
                "--threads is for a bundle's session; with a checkpoint, OMP_NUM_THREADS in the environment "
                "says how many threads torch takes"
            )
        opened = open_plan(target)
        source = folder = resolve_source(checkpoint)
    tokenizer = load_tokenizer(folder)
    choices: dict[str, Any] = {
        "mode": mode,
        "seed": seed,
        "noise_scale": noise_scale,
        "digital_frac": digital_frac,
        "low_memory": low_memory,
    }
    with ExitStack() as context:
        with progress("opening the model"):
            model = context.enter_context(
                running(opened, source, device or "cpu", threads=threads, **choices)
            )
        pieces = generate_text(model.generate, tokenizer, prompt, max_new_tokens)
        with progress("programming the first experts"):
            first = next(pieces, "")
        # A model may say anything; a terminal would act on it.
        show = as_lines if sys.stdout.isatty() else str
        click.echo(prompt + show(first), nl=False)
        for piece in pieces:
            click.echo(show(piece), nl=False)
        click.echo()
