"""Table 2 of arXiv 2603.02633, calculated: OLMoE-1B-7B at batch 32 on an A100 with 3D-stacked PCM.

    python benchmarks/paper_costs.py

The paper gives no context length; it is the only free parameter. Rows with digital parts are counted
`digital-only`: memory and compute of the A100 one after the other, analog products hidden behind them. The
all-analog row is not asserted: 768 tokens/s at 23,949 tokens/J are 0.03 W, so no digital device is in it, not
even for attention and the cache, and its throughput follows from no constant that the sources name. What can
be compared is the energy of its crossbar products alone.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from olmoe_shares import write_checkpoint

import hetc
from hetc.compiler.placement import Placement, make_plan
from hetc.costing.cost import plan_cost
from hetc.costing.profile import load_costs
from hetc.costing.work import Workload
from hetc.hardware.profile import load_profile
from hetc.model.load import load_model
from hetc.plan.plan import Plan
from hetc.plan.targets import targets_at
from hetc.plan.units import DENSE

BATCH = 32
CONTEXTS = (0, 100)
PUBLISHED = {"1": (4220, 10.55), "0.25": (14513, 36.25), "0": (49781, 123.92)}
"""Tokens per second and tokens per joule, by fraction of experts that are digital."""
ALL_ANALOG = 23949
"""Tokens per joule with dense modules analog, too."""


def olmoe_plan() -> Plan:
    """A plan for a model of OLMoE-1B-7B's shape, nothing but dense modules digital."""
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary, "olmoe")
        checkpoint.mkdir()
        write_checkpoint(checkpoint)
        loaded = load_model(hetc.export(checkpoint, Path(temporary, "onnx"), link=True))
        return make_plan(loaded, Placement(digital_frac="0", score="random"), load_profile())


def rows(plan: Plan, context: int) -> dict[str, tuple[float, float]]:
    """Tokens per second and per joule, as `PUBLISHED`."""
    costs, workload = load_costs("a100+pcm-3d"), Workload("decode", BATCH, context)
    found = {}
    for fraction in PUBLISHED:
        cost = plan_cost(targets_at(plan, fraction), costs, workload, "digital-only")
        found[fraction] = (cost.tokens_per_second, 1 / cost.joules_per_token)
    return found


def all_analog_products(plan: Plan) -> float:
    """Tokens per joule of the crossbar products alone, with every dense module analog."""
    units = [replace(unit, target="analog") if unit.kind in DENSE else unit for unit in plan.units]
    cost = plan_cost(units, load_costs("a100+pcm-3d"), Workload("decode", BATCH, 0), "digital-only")
    return cost.tokens / cost.parts["analog"].joules


def main() -> None:
    plan = olmoe_plan()
    for context in CONTEXTS:
        print(f"context {context}\n")
        print("| experts digital | tokens/s | published | off by | tokens/J | published | off by |")
        print("|---|---|---|---|---|---|---|")
        for fraction, (speed, efficiency) in rows(plan, context).items():
            paper_speed, paper_efficiency = PUBLISHED[fraction]
            print(
                f"| {float(fraction):.0%} | {speed:,.0f} | {paper_speed:,} | {speed / paper_speed - 1:+.1%} "
                f"| {efficiency:.2f} | {paper_efficiency:.2f} | {efficiency / paper_efficiency - 1:+.1%} |"
            )
        print()
    products = all_analog_products(plan)
    print(
        f"all analog, crossbar products alone: {products:,.0f} tokens/J; published {ALL_ANALOG:,} "
        f"({products / ALL_ANALOG - 1:+.1%}); its 768 tokens/s are not explained"
    )


if __name__ == "__main__":
    main()
