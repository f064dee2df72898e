"""Tables 1 and 2 of arXiv 2603.02633 from a sweep's results and the cost model, as Markdown.

    python benchmarks/paper_tables.py model.onnx results.parquet --scale 1.5

The sweep has the kinds `none`, `expert` and `all`, the scales 0 and `--scale`, and scores at one fraction or
more (samples/paper, samples/sweeps/*_accuracy.toml). Percent, mean +- deviation over seeds, of each of
`--metrics`: `acc` is the mean over lm-eval's tasks, `accuracy` the next token of the sweep's data.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from hetc.compiler.loading import load_moe_model
from hetc.compiler.placement import Placement, make_plan
from hetc.costing.cost import CostBasis
from hetc.costing.profile import DEFAULT_COSTS, load_costs
from hetc.costing.work import Workload
from hetc.evaluation.results import Result, group_results, mean_and_deviation
from hetc.evaluation.results_file import read_results
from hetc.hardware.profile import load_profile
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.targets import targets_at
from hetc.plan.units import DENSE


def accuracy(results: Sequence[Result]) -> str:
    """Mean over tasks, then mean +- deviation over seeds, in percent."""
    by_seed = group_results(results, lambda result: result.seed)
    if not by_seed:
        return "not measured"
    means = [replace(one[0], value=100 * fmean(result.value for result in one)) for one in by_seed.values()]
    mean, deviation = mean_and_deviation(means)
    return f"{mean:.2f} +- {deviation:.2f}"


def row(
    name: str, units: Sequence[PlannedUnit], plan: Plan, basis: CostBasis, accuracies: Sequence[str]
) -> str:
    """A line of Table 2."""
    cost = basis.plan_cost(units)
    digital, _, _ = replace(plan, units=tuple(units)).shares.percent()
    cells = [f"{digital:.2f} %", name, f"{cost.tokens_per_second:,.0f}", f"{1 / cost.joules_per_token:,.4g}"]
    return f"| {' | '.join([*cells, *accuracies])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--scale", type=float, required=True, help="noise scale of Table 2")
    parser.add_argument("--metrics", nargs="+", default=["acc"])
    parser.add_argument("--costs", default=DEFAULT_COSTS)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--context", type=int, default=100)
    options = parser.parse_args()
    results = read_results(options.results)

    def accuracies(chosen: Sequence[Result]) -> list[str]:
        return [accuracy([one for one in chosen if one.metric == metric]) for metric in options.metrics]

    def of_kind(kind: str, scale: float) -> list[str]:
        return accuracies([one for one in results if (one.kind, one.noise_scale) == (kind, scale)])

    print("| metric | all digital | experts analog | experts and dense modules analog |\n|---|---|---|---|")
    columns = [of_kind(kind, 0.0) for kind in ("none", "expert", "all")]
    for metric, *cells in zip(options.metrics, *columns, strict=True):
        print(f"| {metric} | {' | '.join(cells)} |")

    plan = make_plan(load_moe_model(options.model), Placement(digital_frac=0), load_profile())
    workload = Workload("decode", options.batch, options.context)
    basis = CostBasis(load_costs(options.costs), workload, "digital-only")
    everything = [replace(unit, target="analog") if unit.kind in DENSE else unit for unit in plan.units]
    print(f"\nc = {options.scale:g}; {basis}\n")
    heads = ["parameters digital", "which", "tokens/s", "tokens/J", *options.metrics]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    print(row("none", everything, plan, basis, of_kind("all", options.scale)))
    print(row("dense modules", plan.units, plan, basis, of_kind("expert", options.scale)))
    placed = [one for one in results if not one.kind and one.noise_scale == options.scale]
    for (score, fraction), found in group_results(placed, lambda one: (one.score, one.fraction)).items():
        if 0 < fraction < 1:
            name = f"dense + {fraction:.1%} of experts by {score}"
            print(row(name, targets_at(plan, fraction), plan, basis, accuracies(found)))
    digital = [replace(unit, target="digital") for unit in plan.units]
    print(row("all", digital, plan, basis, of_kind("none", options.scale)))


if __name__ == "__main__":
    main()
