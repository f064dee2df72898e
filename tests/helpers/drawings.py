"""The package's figures, drawn as matplotlib has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from report_data import PLAN

from hetc.costing.cost import CostBasis, plan_cost
from hetc.costing.profile import load_costs
from hetc.costing.work import Workload
from hetc.evaluation.results import Result
from hetc.hardware.noise_models import NOISE_MODELS
from hetc.hardware.profile import Profile
from hetc.reporting.figure import COLUMN, Figure, drawing_style
from hetc.reporting.placement_figure import placement_figure
from hetc.reporting.plan_figures import cost_figures, score_figures
from hetc.reporting.profile_figure import profile_figure
from hetc.reporting.result_figures import (
    energy_figures,
    fraction_figures,
    scale_figures,
    sensitivity_figures,
)

__all__ = ["BASIS", "axes_of", "drawn", "energy", "plan_figures", "result_figures"]

BASIS = CostBasis(load_costs(), Workload("decode", 2, 8))


def energy(fraction: float) -> float:
    """Joules per token, made up."""
    return 1e-3 * (1 + fraction)


def drawn(figure: Figure, width: float = COLUMN) -> Drawing:
    """The figure as matplotlib has it."""
    with drawing_style():
        return figure.draw(width)


def axes_of(figure: Figure) -> Axes:
    """Its first plot."""
    return drawn(figure).axes[0]


def plan_figures() -> list[Figure]:
    """Those that need no results."""
    cost = plan_cost(PLAN.units, BASIS.costs, BASIS.workload)
    return [
        placement_figure(PLAN, BASIS),
        *score_figures(PLAN),
        *cost_figures({"decode": cost}),
        profile_figure(Profile()),
        profile_figure(Profile(noise=NOISE_MODELS["reram_wan2022"])),
    ]


def result_figures(results: Sequence[Result]) -> list[Figure]:
    """One of each kind."""
    scaled = [replace(result, noise_scale=scale) for result in results for scale in (0.5, 1.0, 2.5)]
    return [
        *fraction_figures(results)[:1],
        *(scales := scale_figures(scaled))[:1],
        *scales[-1:],
        *energy_figures(results, energy)[:1],
        *sensitivity_figures(results)[:1],
    ]
