"""`hetc score`: measure what each unit's noise costs, with gradients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hetc.base.extras import needs
from hetc.base.progress import progress
from hetc.cli.command import command
from hetc.cli.data_options import data_options
from hetc.cli.hardware_options import noise_option, noise_scale_option, profile_option
from hetc.cli.output import print_json, say

if TYPE_CHECKING:
    from hetc.model.tokens import TokensLike

__all__ = ["score_command"]


@command("score")
@click.argument("checkpoint")
@data_options()
@click.option("--window", type=click.IntRange(min=2), default=256, show_default=True, help="Tokens per run.")
@click.option("--windows", type=click.IntRange(min=1), default=128, show_default=True, help="Runs, at most.")
@profile_option
@noise_option
@noise_scale_option
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of labels and noise.")
@click.option("--device", default="cpu", show_default=True, help="Where torch computes: cpu, cuda, ...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def score_command(
    checkpoint: str,
    data: TokensLike,
    window: int,
    windows: int,
    profile: str | None,
    noise: str | None,
    noise_scale: float | None,
    seed: int,
    device: str,
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Measure what errors of CHECKPOINT's units and neurons cost, on text that no evaluation uses.

    CHECKPOINT is a folder, or a repository of the Hugging Face hub: OWNER/NAME or hf://OWNER/NAME@REVISION.
    """
    from hetc.hardware.profile import DEFAULT_PROFILE, load_profile

    with needs("export", "hetc score"), progress("loading torch"):
        from hetc.huggingface.live.sensitivity import score

    scores = score(
        checkpoint,
        data,
        output,
        profile=load_profile(DEFAULT_PROFILE if profile is None else profile).with_noise(noise, noise_scale),
        window=window,
        windows=windows,
        seed=seed,
        device=device,
        force=force,
    )
    losses = scores.values["expected-loss"]
    experts = [value for unit, value in losses.items() if ".experts." in unit]
    rest = sum(losses.values()) - sum(experts)
    shown = f"experts {sum(experts):.4f} nats a token, dense modules {rest:.4f}"
    say(f"expected loss when analog: {shown if experts else f'dense modules {rest:.4f} nats a token'}")
    say(f"next: hetc compile MODEL --score expected-loss --ranking model --scores {output}")
    if as_json:
        print_json({"file": output, **scores.to_dict()})
