"""`hetc partition`: one model and one weight file per partition."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from hetc.cli.command import command
from hetc.cli.output import as_text, counted, print_json, say

__all__ = ["partition_command"]


@command("partition")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--per-expert", is_flag=True, help="Make every analog expert a model of its own.")
@click.option("--conductances", is_flag=True, help="Also write what a device toolchain programs.")
@click.option(
    "--g-max",
    type=float,
    metavar="US",
    help="Conductance in uS of a weight as large as its scale.  [default: the noise model's]",
)
@click.option(
    "--seed", type=int, metavar="N", help="Write conductances as programmed with this seed, not the targets."
)
@click.option("--force", is_flag=True, help="Replace an existing folder of partitions.")
def partition_command(
    bundle: Path,
    output: Path,
    per_expert: bool,
    conductances: bool,
    g_max: float | None,
    seed: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Cut BUNDLE into the models that run one after the other on their targets."""
    from hetc.bundle.partition import partition_bundle

    for option, value in (("--g-max", g_max), ("--seed", seed)):
        if value is not None and not conductances:
            raise click.UsageError(f"{option} says how to write --conductances; give both")
    parts = partition_bundle(
        bundle,
        output,
        per_expert=per_expert,
        conductances=conductances,
        g_max=g_max,
        seed=seed,
        force=force,
    )
    say(f"wrote {as_text(output)}: {counted(len(parts), 'model')}")
    if as_json:
        print_json({"folder": output, "partitions": [asdict(part) for part in parts]})
