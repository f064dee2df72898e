"""Tables 1 and 2 of arXiv 2603.02633 from a sweep's results and the cost model, as Markdown or LaTeX.

The sweep has the kinds `none`, `expert` and `all`, the noise scales 0 and another one, and scores at one
fraction or more (samples/paper, samples/sweeps/*_accuracy.toml). Values are means over lm-eval's tasks (a
sweep's own data have other metrics), then mean ± standard deviation over seeds; shares are in percent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Literal, get_args

from hetc.base.choices import choose
from hetc.base.errors import UsageError
from hetc.bundle.bundle import Bundle
from hetc.compiler.costs import open_plan
from hetc.costing.cost import CostBasis
from hetc.costing.profile import load_costs
from hetc.evaluation.results import Result, group_results, mean_and_deviation
from hetc.evaluation.results_file import read_results
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.targets import targets_at
from hetc.plan.units import DENSE

__all__ = ["TABLE_FORMATS", "PaperTable", "TableFormat", "format_tables", "paper_tables", "report_tables"]

TableFormat = Literal["md", "latex"]
TABLE_FORMATS: tuple[TableFormat, ...] = get_args(TableFormat)

KINDS = {"none": "all digital", "expert": "experts analog", "all": "experts and dense modules analog"}
LATEX = {
    "\\": r"\textbackslash{}",
    **{each: f"\\{each}" for each in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class PaperTable:
    """A table as text.

    Attributes:
        caption: What it shows, and under which conditions.
        columns: The heads.
        rows: The cells.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def report_tables(
    target: str | Path | Bundle | Plan,
    results: Sequence[str | Path],
    form: TableFormat = "md",
    *,
    basis: CostBasis | None = None,
    noise_scale: float | None = None,
) -> str:
    """The paper's tables as text.

    Args:
        target: A bundle, a plan, or the path of one or of a model.
        results: Tables of results of that model, Parquet or CSV.
        form: `md` or `latex` (with booktabs).
        basis: The system and step that costs are of; None for decoding on the default one. The paper counts
            `digital-only` with a context of 100.
        noise_scale: The c of Table 2; None for the plan's. Of those that were measured, the nearest counts.

    Raises:
        UsageError: No results, no such file, or an unknown format.
        InvalidInputError: A file that cannot be used, or results of another model.
    """
    form = choose("table format", form, TABLE_FORMATS)
    if not results:
        raise UsageError("tables are of measured results; give --results FILE of `hetc sweep`")
    plan = open_plan(target)
    measured = read_results(*map(Path, results), model=plan.source["sha256"])
    scale = plan.profile.noise_scale if noise_scale is None else noise_scale
    return format_tables(paper_tables(plan, measured, basis or CostBasis(load_costs()), scale), form)


def paper_tables(
    plan: Plan, results: Sequence[Result], basis: CostBasis, noise_scale: float
) -> list[PaperTable]:
    """Tables 1 and 2.

    Args:
        plan: Of the model that was measured.
        results: The measurements.
        basis: What costs are of.
        noise_scale: The c of Table 2, or near it.

    Raises:
        UsageError: Nothing was measured with noise.
    """
    results = [result for result in results if result.mode != "exact"]
    noisy = {result.noise_scale for result in results if result.noise_scale}
    if not noisy:
        raise UsageError("the results have no noise: no c above 0 was measured")
    scale = min(noisy, key=lambda each: (abs(each - noise_scale), each))
    metrics = list(dict.fromkeys(result.metric for result in results))

    def of_kind(kind: str, scale: float) -> list[Result]:
        return [one for one in results if (one.kind, one.noise_scale) == (kind, scale)]

    placed = [one for one in results if not one.kind and one.noise_scale == scale]

    def at_fraction(fraction: float) -> list[Result]:
        """What is the same by every score, by the first of them."""
        score = next((one.score for one in placed), "")
        return [one for one in placed if (one.score, one.fraction) == (score, fraction)]

    without = {kind: of_kind(kind, 0.0) for kind in KINDS}
    first = [
        (metric, *(_value(without[kind], metric) for kind in KINDS))
        for metric in metrics
        if any(one.metric == metric for own in without.values() for one in own)
    ]

    def row(name: str, units: Sequence[PlannedUnit], own: Sequence[Result]) -> tuple[str, ...]:
        cost = basis.plan_cost(units)
        digital, _, _ = replace(plan, units=tuple(units)).shares.percent()
        figures = (
            f"{digital:.2f} %",
            name,
            f"{cost.tokens_per_second:,.0f}",
            f"{1 / cost.joules_per_token:,.4g}",
        )
        return (*figures, *(_value(own, metric) for metric in metrics))

    dense = targets_at(plan, 0)
    nothing = [
        replace(unit, target="analog", digital_neurons=0) if unit.kind in DENSE else unit for unit in dense
    ]
    rows = [
        row("none", nothing, of_kind("all", scale)),
        row("dense modules", dense, of_kind("expert", scale) or at_fraction(0)),
    ]
    for (score, fraction), own in group_results(placed, lambda one: (one.score, one.fraction)).items():
        if 0 < fraction < 1:
            name = f"dense modules, {fraction:.1%} of experts by {score}"
            rows.append(row(name, targets_at(plan, fraction), own))
    digital = [replace(unit, target="digital") for unit in plan.units]
    rows.append(row("all", digital, of_kind("none", scale) or at_fraction(1)))
    tables = [
        PaperTable(
            "Converters without programming noise (c = 0).", ("metric", *KINDS.values()), tuple(first)
        ),
        PaperTable(
            f"Placements at c = {scale:g}; costs of {basis}.",
            ("parameters digital", "which", "tokens/s", "tokens/J", *metrics),
            tuple(rows),
        ),
    ]
    return [table for table in tables if table.rows]


def format_tables(tables: Iterable[PaperTable], form: TableFormat) -> str:
    """The tables one after the other."""
    return "\n".join(map(_markdown if form == "md" else _latex, tables))


def _value(results: Sequence[Result], metric: str) -> str:
    """Mean over tasks, then mean ± deviation over seeds; shares of answers in percent."""
    own = [result for result in results if result.metric == metric]
    if not own:
        return "not measured"
    share = own[0].higher_is_better and not own[0].unit
    factor, digits = (100, 2) if share else (1, 4)
    by_seed = group_results(own, lambda result: result.seed).values()
    means = [replace(each[0], value=factor * fmean(result.value for result in each)) for each in by_seed]
    mean, deviation = mean_and_deviation(means)
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}" if len(means) > 1 else f"{mean:.{digits}f}"


def _markdown(table: PaperTable) -> str:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    rule = f"|{'---|' * len(table.columns)}"
    return "\n".join([table.caption, "", line(table.columns), rule, *map(line, table.rows), ""])


def _latex(table: PaperTable) -> str:
    def line(cells: Iterable[str]) -> str:
        return " & ".join("".join(LATEX.get(each, each) for each in cell) for cell in cells) + r" \\"

    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{line([table.caption])[:-3]}}}",
            rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}",
            r"\toprule",
            line(table.columns),
            r"\midrule",
            *map(line, table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
