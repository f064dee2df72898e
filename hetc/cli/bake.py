"""`hetc bake`: noise in the weights, for runtimes without the library."""

from __future__ import annotations

from pathlib import Path

import click

from hetc.cli.command import command
from hetc.cli.hardware_options import noise_scale_option
from hetc.cli.output import as_text, print_json, say
from hetc.operators.words import STORES, Store

__all__ = ["bake_command"]


@command("bake")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Baked bundle to write.")
@click.option("--seed", type=int, metavar="N", help="Programming seed.  [default: the plan's]")
@noise_scale_option
@click.option("--drift-time", type=float, metavar="S", help="Seconds since programming.")
@click.option(
    "--store",
    type=click.Choice(STORES),
    default="bfloat16",
    show_default=True,
    help="What programmed weights are rounded to; they are written as float32.",
)
@click.option("--approximate", is_flag=True, help="Bake although noise of every product gets lost.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the programming.")
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
def bake_command(
    bundle: Path,
    output: Path,
    seed: int | None,
    noise_scale: float | None,
    drift_time: float | None,
    store: Store,
    approximate: bool,
    threads: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the noise of one seed into the weights of BUNDLE, so that any ONNX runtime computes it."""
    from hetc.bundle.bake import bake_bundle

    baked = bake_bundle(
        bundle,
        output,
        seed=seed,
        noise_scale=noise_scale,
        drift_time=drift_time,
        store=store,
        approximate=approximate,
        threads=threads,
        force=force,
    )
    assert baked.baked is not None
    noise = "seed {seed}, c = {noise_scale}, t = {drift_time}".format_map(baked.baked)
    say(f"wrote {as_text(output)}: {noise}")
    say(f"next: run {as_text(output / 'model.onnx')} with any ONNX runtime")
    if as_json:
        print_json({"bundle": output, "baked": dict(baked.baked)})
