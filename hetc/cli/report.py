"""`hetc report`: one offline HTML file."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report_command"]


@click.command("report")
@click.argument("path", metavar="X", type=click.Path(path_type=Path))
@click.option("--results", type=click.Path(path_type=Path), help="Results of a sweep, Parquet or CSV.")
@click.option("--costs", help="Cost profile: a name or a TOML file.  [default: a100+pcm-3d]")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Sequences.")
@click.option(
    "--context", type=click.IntRange(min=1), default=1024, show_default=True, help="Tokens of each."
)
@click.option("--accounting", default="serial", show_default=True, help="serial, overlapped or digital-only.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: X.html]")
@click.option(
    "--figures", type=click.Path(path_type=Path), help="Folder for the figures as SVG and the tables as CSV."
)
@click.option("--force", is_flag=True, help="Replace what exists.")
def report_command(
    path: Path,
    results: Path | None,
    costs: str | None,
    batch: int,
    context: int,
    accounting: str,
    output: Path | None,
    figures: Path | None,
    force: bool,
) -> None:
    """Write a page on X (a bundle, plan.json or model): placement, scores, costs, and measured results."""
    from contextlib import ExitStack

    from hetc.base.output import whole_file, whole_folder
    from hetc.compiler.sources import read_plan
    from hetc.costing.profile import DEFAULT_COSTS, load_costs
    from hetc.evaluation.results import read_results
    from hetc.reporting.write import build_report, write_figures

    target = output or Path(f"{path.resolve().stem}.html")
    page, drawn = build_report(
        read_plan(path),
        load_costs(costs or DEFAULT_COSTS),
        title=f"hetc report: {path.resolve().name}",
        batch=batch,
        context=context,
        accounting=accounting,
        results=read_results(results) if results else (),
        results_from=str(results or ""),
    )
    with ExitStack() as outputs:
        if figures is not None:
            folder = outputs.enter_context(whole_folder(figures, marker="placement.svg", force=force))
            write_figures(drawn, folder)
        outputs.enter_context(whole_file(target, force=force)).write_text(page, "utf-8")
    click.echo(f"{target}: {len(drawn)} figures", err=True)
