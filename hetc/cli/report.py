"""`hetc report`: one offline HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hetc.base.extras import needs
from hetc.cli.command import command
from hetc.cli.cost_options import cost_basis
from hetc.cli.output import as_lines, print_json, say

if TYPE_CHECKING:
    from hetc.costing.work import Accounting
    from hetc.reporting.paper_tables import TableFormat

__all__ = ["report_command"]


@command("report")
@click.argument("path", metavar="X", type=click.Path(path_type=Path))
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Results of sweep and evaluate, Parquet or CSV; repeatable.",
)
@click.option("--costs", help="Cost profile: a name or a TOML file.  [default: a100+pcm-3d]")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Sequences.")
@click.option(
    "--context", type=click.IntRange(min=1), default=1024, show_default=True, help="Tokens of each."
)
@click.option("--accounting", default="serial", show_default=True, help="serial, overlapped or digital-only.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: X.html]")
@click.option(
    "--figures", type=click.Path(path_type=Path), help="Folder for figures as SVG, PDF, PNG; tables as CSV."
)
@click.option("--width", metavar="85mm", help="Of the figures in that folder.  [default: 85mm, a column]")
@click.option(
    "--noise-scale",
    type=float,
    metavar="C",
    help="Of what is shown at one noise.  [default: the plan's]",
)
@click.option(
    "--tables",
    type=click.Choice(["md", "latex"]),
    help="Print Tables 1 and 2 of arXiv 2603.02633 from the results instead of writing a page.",
)
@click.option("--force", is_flag=True, help="Replace what exists.")
def report_command(
    path: Path,
    results: tuple[Path, ...],
    costs: str | None,
    batch: int,
    context: int,
    accounting: Accounting,
    output: Path | None,
    figures: Path | None,
    width: str | None,
    noise_scale: float | None,
    tables: TableFormat | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write a page on X (a bundle, plan.json or model): placement, scores, costs, and measured results."""
    if tables is not None:
        from hetc.reporting.paper_tables import report_tables

        if output is not None or figures is not None:
            raise click.UsageError("--tables prints and writes nothing: no -o or --figures beside")
        basis = cost_basis(costs, batch, context, accounting)
        text = report_tables(path, results, tables, basis=basis, noise_scale=noise_scale)
        if as_json:
            print_json({"tables": text})
        else:
            click.echo(as_lines(text), nl=False)
        return
    from hetc.costing.profile import DEFAULT_COSTS

    with needs("report", "hetc report"):
        from hetc.reporting.write import report

    target = output or Path(f"{path.resolve().stem}.html")
    drawn = report(
        path,
        target,
        results=results,
        costs=DEFAULT_COSTS if costs is None else costs,
        batch=batch,
        context=context,
        accounting=accounting,
        figures=figures,
        width=width,
        noise_scale=noise_scale,
        force=force,
    )
    say(f"{target}: {len(drawn)} figures")
    if as_json:
        print_json({"page": target, "figures": [figure.name for figure in drawn]})
