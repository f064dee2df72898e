"""`hetc sweep`: measure over fractions, scores, noises and seeds."""

from __future__ import annotations

from pathlib import Path

import click

from hetc.base.extras import needs
from hetc.cli.extras import quieten_lm_eval

__all__ = ["sweep_command"]


@click.command("sweep")
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Table to write: .parquet or .csv.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes on this machine.  [default: its cores; 1 with a checkpoint]",
)
@click.option("--scheduler", metavar="ADDRESS", help="A Dask scheduler instead, such as tcp://host:8786.")
@click.option("--dry-run", is_flag=True, help="Only say how much there is to do, from one measurement.")
@click.option("--force", is_flag=True, help="Replace an existing table.")
def sweep_command(
    spec: Path, output: Path | None, jobs: int | None, scheduler: str | None, dry_run: bool, force: bool
) -> None:
    """Measure what SPEC, a TOML file, asks for. A sweep that was stopped goes on when it is started again."""
    from hetc.evaluation.sweep_spec import load_sweep

    asked = load_sweep(spec)
    if asked.tasks:
        quieten_lm_eval()
        with needs("evaluate", "hetc sweep"):
            import lm_eval  # noqa: F401
    with needs("sweep", "hetc sweep"):
        import joblib  # noqa: F401

        from hetc.evaluation.sweep import sweep
        from hetc.evaluation.sweep_estimate import estimate_sweep
    if dry_run:
        folder = None if output is None else output.parent
        click.echo(estimate_sweep(asked, folder, workers=jobs or -1))
        return
    if output is None:
        raise click.UsageError("-o is missing: where to write the table")
    try:
        rows = sweep(asked, output, workers=jobs or -1, scheduler=scheduler, force=force)
    except KeyboardInterrupt:
        click.echo(f"stopped; what is finished is in {output}.partial, type the same to go on", err=True)
        raise
    click.echo(f"wrote {rows:,} results to {output}", err=True)
    click.echo("next: hetc report BUNDLE --results " + str(output), err=True)
