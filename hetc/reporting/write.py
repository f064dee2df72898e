"""Puts a report together: a plan, its costs and measured results as one page, and its figures as files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from hetc.base.output import whole_file, whole_folder
from hetc.base.quantity import quantity
from hetc.bundle.bundle import Bundle
from hetc.compiler.costs import open_plan
from hetc.costing.cost import CostBasis, plan_cost
from hetc.costing.profile import DEFAULT_COSTS, CostProfile, load_costs
from hetc.costing.work import ACCOUNTINGS, PHASES, Accounting, Workload
from hetc.evaluation.results import Result
from hetc.evaluation.results_file import read_results
from hetc.plan.plan import Plan
from hetc.plan.targets import targets_at
from hetc.reporting.figure import COLUMN, FORMATS, Figure, parse_width, save_figure
from hetc.reporting.page import Section, build_page
from hetc.reporting.panels import nearest_scale
from hetc.reporting.placement_figure import placement_figure
from hetc.reporting.plan_figures import cost_figures, score_figures
from hetc.reporting.result_figures import (
    energy_figures,
    fraction_figures,
    scale_figures,
    sensitivity_figures,
)

__all__ = ["build_report", "file_names", "report", "write_figures"]

LONGEST_NAME = 120
"""Characters of a figure's file name; file systems take 255 bytes."""


def report(
    target: str | Path | Bundle | Plan,
    output: str | Path | None = None,
    *,
    results: str | Path | Sequence[str | Path] = (),
    costs: CostProfile | str | Path = DEFAULT_COSTS,
    batch: int = 32,
    context: int = 1024,
    accounting: Accounting = "serial",
    noise_scale: float | None = None,
    figures: str | Path | None = None,
    width: str | None = None,
    force: bool = False,
) -> list[Figure]:
    """Writes one offline page: placement, scores, costs and measured results.

        >>> import hetc
        >>> figures = hetc.report("samples/tiny_moe/model.onnx", "report.html")
        >>> figures[0].name
        'placement'

    Args:
        target: A bundle, a plan, or the path of one or of a model, which is placed as `hetc compile` does by
            default.
        output: The page; None for `NAME.html` in the current folder.
        results: Results of the same model, Parquet or CSV, of `hetc sweep` and `hetc evaluate`; several files
            are taken together.
        costs: A cost profile, the name of a built-in one, or the path of a TOML file.
        batch: Sequences of a step.
        context: Tokens of each.
        accounting: `serial`, `overlapped` or `digital-only`.
        noise_scale: The c of the figures against the digital fraction and energy; None for the plan's.
        figures: Folder to make, for the figures as SVG, PDF and PNG, and the tables behind them as CSV.
        width: Of these figures, such as `85mm` (a column of a paper) or `170mm`; None for a column.
        force: Replace what exists.

    Returns:
        The figures on the page.

    Raises:
        UsageError: Nothing is there, an output exists, or a workload, accounting or width that makes no
            sense.
        InvalidInputError: A file that cannot be used, or results of another model.
    """
    points = COLUMN if width is None else parse_width(width)
    name = _name(target)
    file = Path(output) if output is not None else Path(f"{Path(name).stem}.html")
    tables = [Path(results)] if isinstance(results, (str, Path)) else list(map(Path, results))
    system = costs if isinstance(costs, CostProfile) else load_costs(costs)
    with ExitStack() as outputs:
        folder = None
        if figures is not None:
            folder = outputs.enter_context(whole_folder(Path(figures), marker="placement.svg", force=force))
        staging = outputs.enter_context(whole_file(file, force=force))
        plan = open_plan(target)
        page, drawn = build_report(
            plan,
            system,
            title=f"hetc report: {name}",
            batch=batch,
            context=context,
            accounting=accounting,
            noise_scale=noise_scale,
            results=read_results(*tables, model=plan.source["sha256"]),
            results_from=", ".join(map(str, tables)),
        )
        staging.write_text(page, "utf-8")
        if folder is not None:
            write_figures(drawn, folder, points)
    return drawn


def _name(target: str | Path | Bundle | Plan) -> str:
    """What titles and files are called after."""
    if isinstance(target, Plan):
        return Path(target.source["file"] or "plan").name
    return (target.path if isinstance(target, Bundle) else Path(target)).resolve().name


def build_report(
    plan: Plan,
    system: CostProfile,
    *,
    title: str,
    batch: int = 32,
    context: int = 1024,
    accounting: Accounting = "serial",
    noise_scale: float | None = None,
    results: Sequence[Result] = (),
    results_from: str = "",
) -> tuple[str, list[Figure]]:
    """The page, and the figures on it. Sections without data are left out.

    Args:
        plan: The plan.
        system: The cost profile.
        title: Of the page.
        batch: Sequences of a step.
        context: Tokens of each.
        accounting: One of `hetc.costing.cost.ACCOUNTINGS`.
        noise_scale: As for `report`; of the scales that were measured, the nearest counts.
        results: Measurements.
        results_from: Where they come from.

    Raises:
        UsageError: A workload or accounting that makes no sense.
    """
    found = {
        phase: plan_cost(plan.units, system, Workload(phase, batch, context), accounting) for phase in PHASES
    }
    decode = Workload("decode", batch, context)
    basis = CostBasis(system, decode, accounting)

    def energy(fraction: float) -> float:
        return plan_cost(targets_at(plan, fraction), system, decode, accounting).joules_per_token

    scale = plan.profile.noise_scale if noise_scale is None else noise_scale
    one_scale = nearest_scale((result for result in results if not result.kind), scale)
    by_kind = nearest_scale((result for result in results if result.kind), scale)
    step = f"batch {batch}, context {context:,}, {system.name}, {accounting}: {ACCOUNTINGS[accounting]}."
    sections = [
        Section("placement", "Where units run", "", [placement_figure(plan, basis)]),
        Section("scores", "How scores are distributed", "", score_figures(plan)),
        Section("accuracy", "Accuracy against the digital share", "", fraction_figures(one_scale, results)),
        Section("noise", "Accuracy against noise", "", scale_figures(results)),
        Section(
            "energy", "Accuracy against energy", f"Energy: {step}", energy_figures(one_scale, energy, results)
        ),
        Section("sensitivity", "Sensitivity by kind of unit", "", sensitivity_figures(by_kind, results)),
        Section("cost", "What a step costs", f"Calculated: {step}", cost_figures(found)),
    ]
    sections = [section for section in sections if section.figures]
    digital, analog, uncounted = plan.shares.percent()
    summary = {
        "parameters": f"{plan.model_parameters / 1e6:,.1f} M",
        "digital": f"{digital:.2f} %",
        "analog": f"{analog:.2f} %",
        "uncounted": f"{uncounted:.2f} %",
        "decode, per token": quantity(found["decode"].joules_per_token, "J"),
        "decode, tokens/s": f"{found['decode'].tokens_per_second:,.0f}",
    }
    provenance = dict(_provenance(plan, system, results, results_from))
    page = build_page(title, summary, sections, provenance)
    return page, [figure for section in sections for figure in section.figures]


def write_figures(figures: Sequence[Figure], folder: Path, width: float = COLUMN) -> None:
    """Writes each figure as NAME.svg, NAME.pdf and NAME.png, and the table behind it as NAME.csv.

    Args:
        figures: What to write.
        folder: Where to.
        width: In points.
    """
    for name, figure in zip(file_names(figure.name for figure in figures), figures, strict=True):
        save_figure(figure, {form: folder / f"{name}.{form}" for form in FORMATS}, width)
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8", errors="replace") as file:
            writer = csv.writer(file)
            writer.writerow(figure.columns)
            writer.writerows(figure.rows)


def file_names(names: Iterable[str]) -> list[str]:
    """Names of figures as names of files: short, of harmless characters, and no two alike anywhere."""
    found: list[str] = []
    for name in names:
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
        safe = safe.lstrip(".")[:LONGEST_NAME] or "figure"
        number, chosen = 1, safe
        # Some file systems don't tell capitals from small letters.
        while chosen.lower() in map(str.lower, found):
            number, chosen = number + 1, f"{safe}-{number + 1}"
        found.append(chosen)
    return found


def _provenance(
    plan: Plan, system: CostProfile, results: Sequence[Result], results_from: str
) -> Iterator[tuple[str, str]]:
    profile = plan.profile
    yield "model", plan.source["file"] or "in memory"
    yield "model sha256", plan.source["sha256"] or "none: compiled in memory"
    yield "produced by", plan.source["producer"] or "unknown"
    yield "hetc", plan.hetc.get("version", "unknown")
    yield "placement", f"{plan.score} per {plan.ranking}, digital fraction {plan.digital_frac}"
    if plan.budget is not None:
        yield "budget", str(plan.budget)
    yield "hardware", f"{profile.name}: tiles {profile.tile_rows} x {profile.tile_columns}"
    yield "converters", f"DAC {profile.dac_bits} bit, ADC {profile.adc_bits} bit, ranges {plan.range_rule}"
    yield "noise", plan.programming
    if plan.conductances is None:
        yield "noise source", profile.noise.source or "the profile"
    yield "seed", str(plan.seed)
    if results:
        seeds = len({result.seed for result in results})
        yield "results", f"{results_from}: {len(results):,} measurements, {seeds} seeds"
    yield "expert load", "top-k over the number of experts"
    for section in ("digital", "analog", "link"):
        for name, constant in vars(getattr(system, section)).items():
            why = "; ".join(
                filter(None, (constant.source, constant.assumption and f"assumed: {constant.assumption}"))
            )
            yield f"{section} {name.replace('_', ' ')}", f"{constant.value:g} {constant.unit} ({why})"
