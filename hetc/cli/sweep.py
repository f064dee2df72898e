"""`hetc sweep`: measure over fractions, scores, noises and seeds."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from hetc.base.extras import needs
from hetc.base.progress import progress
from hetc.cli.command import command
from hetc.cli.output import print_json, say

__all__ = ["sweep_command"]


@command("sweep")
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Table to write: .parquet or .csv.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes on this machine.  [default: its cores; 1 with a checkpoint]",
)
@click.option("--devices", metavar="NAMES", help="One process on each, with a checkpoint: cuda:0,cuda:1.")
@click.option("--scheduler", metavar="ADDRESS", help="A Dask scheduler instead, such as tcp://host:8786.")
@click.option("--shard", metavar="3/16", help="Do this share only, and write no table; others do the others.")
@click.option("--merge", is_flag=True, help="Only write the table of what all shards have done.")
@click.option("--dry-run", is_flag=True, help="Only say how much there is to do, from three measurements.")
@click.option(
    "--mlflow",
    metavar="EXPERIMENT",
    help="Log the table to MLflow, where MLFLOW_TRACKING_URI says: a run, with one in it per programming.",
)
@click.option("--force", is_flag=True, help="Replace an existing table.")
def sweep_command(
    spec: Path,
    output: Path | None,
    jobs: int | None,
    devices: str | None,
    scheduler: str | None,
    shard: str | None,
    merge: bool,
    dry_run: bool,
    mlflow: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Measure what SPEC, a TOML file, asks for. A sweep that was stopped goes on when it is started again.

    \b
    Several GPUs of a machine:  hetc sweep SPEC -o OUTPUT --devices cuda:0,cuda:1
    Several machines:           hetc sweep SPEC -o OUTPUT --shard 1/2    on one,
                                hetc sweep SPEC -o OUTPUT --shard 2/2    on another,
                                hetc sweep SPEC -o OUTPUT --merge        at the end
    """
    from hetc.evaluation.sweep_spec import load_sweep

    if merge and (shard is not None or dry_run):
        raise click.UsageError("--merge runs nothing: no --shard or --dry-run beside")
    if mlflow is not None and (shard is not None or dry_run):
        raise click.UsageError("--mlflow logs the finished table: give it to --merge, or to a whole sweep")
    asked = load_sweep(spec)
    if asked.tasks:
        with needs("evaluate", "hetc sweep"), progress("loading lm-eval"):
            import lm_eval  # noqa: F401
    with needs("sweep", "hetc sweep"):
        import joblib  # noqa: F401

        from hetc.evaluation.sweep import sweep, sweep_shard
        from hetc.evaluation.sweep_estimate import estimate_sweep
        from hetc.evaluation.sweep_workers import Workers
    workers = Workers(jobs or -1, () if devices is None else tuple(devices.split(",")), scheduler)
    if dry_run:
        folder = None if output is None else output.parent
        estimate = estimate_sweep(asked, folder, workers=replace(workers, scheduler=None), shard=shard)
        if as_json:
            print_json(asdict(estimate))
        else:
            click.echo(str(estimate))
        return
    if output is None:
        raise click.UsageError("-o is missing: where to write the table")
    if mlflow is not None:
        from hetc.evaluation.mlflow_runs import log_results, require_experiment

        require_experiment(mlflow)
    who: dict[str, Any] = {"workers": workers.processes, "devices": workers.devices, "scheduler": scheduler}
    try:
        if shard is not None:
            left = sweep_shard(asked, output, shard, **who)
            _say_what_is_left(left, spec, output, shard)
            if as_json:
                print_json({"shard": shard, "jobs_left": left})
            return
        rows = sweep(asked, output, merge=merge, force=force, **who)
    except KeyboardInterrupt:
        say(f"stopped; what is finished is in {output}.partial, type the same to go on")
        raise
    say(f"wrote {rows:,} results to {output}")
    say("next: hetc report BUNDLE --results " + str(output))
    run = None if mlflow is None else log_results(output, mlflow, spec=spec)
    if run is not None:
        say(f"logged to MLflow: experiment {mlflow}, run {run}")
    if as_json:
        print_json({"table": output, "results": rows, **({} if run is None else {"mlflow_run": run})})


def _say_what_is_left(left: int, spec: Path, output: Path, shard: str) -> None:
    if left:
        say(f"shard {shard} is done; jobs left to other shards: {left:,}")
    else:
        say(f"shard {shard} is done, and so is every job")
        say(f"next: hetc sweep {spec} -o {output} --merge")
