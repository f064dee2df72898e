"""`hetc compile`: the one line that everything serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hetc.cli.command import command
from hetc.cli.completion import scores as known_scores
from hetc.cli.cost_options import cost_basis, cost_options
from hetc.cli.hardware_options import noise_option, noise_scale_option, profile_option
from hetc.cli.output import print_json

if TYPE_CHECKING:
    from hetc.costing.work import Accounting

__all__ = ["compile_command"]


@command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--digital-frac",
    metavar="F",
    help="Fraction of experts to keep digital: 0.25, 25%, 1/4.  [default: 0.25]",
)
@click.option(
    "--budget",
    metavar="METRIC:VALUE",
    help="Instead, what may be digital: parameters:20%, active-parameters:1.3B, energy:2mJ, latency:80us.",
)
@cost_options
@click.option("--plan", type=click.Path(path_type=Path), help="Follow this plan instead of deciding.")
@click.option(
    "--score",
    shell_complete=known_scores,
    help="What ranks experts: maxnn, maxnn-down-inputs, router-norm, random, or one of --scores.  "
    "[default: maxnn]",
)
@click.option("--scores", type=click.Path(path_type=Path), help="What hetc score or hetc calibrate measured.")
@click.option("--ranking", help="Rank experts within their layer, or over the model.  [default: layer]")
@click.option(
    "--granularity",
    metavar="WHAT",
    help="Place whole experts (expert), their neurons one by one (neuron), or in blocks (neuron:16).  "
    "[default: expert]",
)
@click.option("--digital", multiple=True, metavar="GLOB", help="Pin matching units digital; repeatable.")
@click.option("--analog", multiple=True, metavar="GLOB", help="Pin matching units analog; repeatable.")
@profile_option
@noise_option
@noise_scale_option
@click.option("--calibration", type=click.Path(path_type=Path), help="Static ranges from this calibration.")
@click.option(
    "--range", "range_rule", metavar="RULE", help="max, std:KAPPA or quantile:SHARE of a calibration."
)
@click.option("--adc-bound", "adc_bound_rule", metavar="RULE", help="scale:LAMBDA or std:LAMBDA, calibrated.")
@click.option("--seed", type=int, help="Programming seed.  [default: 0]")
@click.option(
    "--conductances",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Run on conductances that were measured, in the files of hetc partition --conductances.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Bundle to write.  [default: NAME.hetc]"
)
@click.option("--link", is_flag=True, help="Hard-link weights into the bundle instead of copying them.")
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@click.option("--allow-partial", is_flag=True, help="Leave MoE layers of an unknown spelling digital.")
@click.option("--dry-run", is_flag=True, help="Show the placement and write nothing.")
def compile_command(
    model: Path,
    digital_frac: str | None,
    budget: str | None,
    costs: str | None,
    batch: int,
    context: int,
    accounting: Accounting,
    plan: Path | None,
    score: str | None,
    scores: Path | None,
    ranking: str | None,
    granularity: str | None,
    digital: tuple[str, ...],
    analog: tuple[str, ...],
    profile: str | None,
    noise: str | None,
    noise_scale: float | None,
    calibration: Path | None,
    range_rule: str | None,
    adc_bound_rule: str | None,
    seed: int | None,
    conductances: Path | None,
    output: Path | None,
    link: bool,
    force: bool,
    allow_partial: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Place MODEL's experts analog or digital and write a bundle.

    MODEL is an ONNX file, a folder with one, or a repository of the Hugging Face hub: hf://OWNER/NAME,
    hf://OWNER/NAME@REVISION, hf://OWNER/NAME/onnx/model_q4.onnx.
    """
    from hetc.cli.summary import print_plan
    from hetc.compiler.compile import compile, plan_model
    from hetc.hardware.profile import DEFAULT_PROFILE, load_profile

    asked: dict[str, Any] = {
        "digital_frac": digital_frac,
        "budget": budget,
        "basis": cost_basis(costs, batch, context, accounting) if budget is not None else None,
        "score": score,
        "scores": scores,
        "ranking": ranking,
        "granularity": granularity,
        "digital": digital or None,
        "analog": analog or None,
        "calibration": calibration,
        "range_rule": range_rule,
        "adc_bound_rule": adc_bound_rule,
        "seed": seed,
        "profile": profile,
        "conductances": conductances,
    }
    if noise is not None or noise_scale is not None:
        if plan is not None:
            option = "noise" if noise is not None else "noise-scale"
            raise click.UsageError(f"--plan already says --{option}; give one of the two")
        asked["profile"] = load_profile(DEFAULT_PROFILE if profile is None else profile).with_noise(
            noise, noise_scale
        )
    given = {name: value for name, value in asked.items() if value is not None}
    if dry_run:
        _, placed = plan_model(model, plan=plan, allow_partial=allow_partial, **given)
        where = None
    else:
        bundle = compile(
            model, output, plan=plan, link=link, force=force, allow_partial=allow_partial, **given
        )
        # As it was typed, or its name in the current folder.
        placed, where = bundle.plan, output or Path(bundle.path.name)
    if as_json:
        print_json(placed.to_dict() if where is None else {**placed.to_dict(), "bundle": where})
    else:
        print_plan(placed, bundle=where)
