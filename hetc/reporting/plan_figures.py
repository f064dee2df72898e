"""Figures of a plan's scores and of its costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from hetc.base.quantity import quantity
from hetc.costing.cost import PART_NAMES, PARTS, Cost
from hetc.costing.work import Phase
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.units import ranked_kind
from hetc.reporting.figure import Figure, add_legend, new_drawing
from hetc.reporting.placement_figure import SIDES, drawn_side, side_names
from hetc.reporting.style import LIGHT, shortened

__all__ = ["cost_figures", "score_figures"]


def score_figures(plan: Plan) -> list[Figure]:
    """For each score, every expert as a line at its score, layer by layer; MLPs in models without experts."""
    kind = ranked_kind(plan.units)
    units = [unit for unit in plan.units if unit.kind == kind and unit.layer is not None]
    names = dict.fromkeys(name for unit in units for name in unit.score)
    return [_score_figure(plan, [unit for unit in units if name in unit.score], name) for name in names]


def cost_figures(found: Mapping[Phase, Cost]) -> list[Figure]:
    """For each phase, the energy per token of each part."""
    return [_cost_figure(phase, cost) for phase, cost in found.items()]


def _score_figure(plan: Plan, units: Sequence[PlannedUnit], name: str) -> Figure:
    rows = tuple((unit.id, unit.layer, unit.target, unit.score[name]) for unit in units)

    def draw(width: float) -> Drawing:
        layers = sorted({unit.layer for unit in units if unit.layer is not None})
        drawing = new_drawing(width, 50 + max(60, 10 * len(layers)))
        axes = drawing.add_subplot()
        handles: dict[str, Line2D] = {}
        for side, meaning in side_names(plan).items():
            own = [unit for unit in units if drawn_side(unit) == side]
            rows = [layers.index(unit.layer) for unit in own if unit.layer is not None]
            lows, highs = ([row + sign * SIDES[side] / 2 for row in rows] for sign in (-1, 1))
            axes.vlines([unit.score[name] for unit in own], lows, highs, color=LIGHT[side], linewidth=1.2)
            look: dict[str, Any] = {
                "color": LIGHT[side],
                "markersize": 10 * SIDES[side] + 1,
                "markeredgewidth": 1.4,
            }
            handles[meaning] = Line2D([], [], linestyle="", marker="|", **look)
        axes.set(ylim=(len(layers) - 0.5, -0.5), ylabel="layer", xlabel=shortened(name, width - 90))
        axes.grid(False, axis="y")
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter("{x:.6g}")
        shown = range(0, len(layers), 1 + (len(layers) - 1) // 12)
        axes.set_yticks(shown, [shortened(str(layers[row]), 40) for row in shown])
        add_legend(drawing, handles, width)
        return drawing

    columns = ("unit", "layer", "target", name)
    note = f"One line per {ranked_kind(units).replace('dense_mlp', 'MLP')}."
    return Figure(f"scores-{name}", f"Scores: {name}", draw, columns, rows, note)


def _cost_figure(phase: str, cost: Cost) -> Figure:
    rows = tuple(
        (PART_NAMES[name], part.seconds, part.joules, part.joules / cost.tokens)
        for name, part in ((name, cost.parts[name]) for name in PARTS)
    )
    total = (
        f"{cost.tokens_per_second:,.0f} tokens/s, {quantity(cost.watts, 'W')}, "
        f"{quantity(cost.joules_per_token, 'J')}/token"
    )
    columns = ("part", "seconds per step", "joules per step", "joules per token")
    return Figure(
        f"cost-{phase}", f"Energy of {phase}", lambda width: _draw_cost(cost, width), columns, rows, total
    )


def _draw_cost(cost: Cost, width: float) -> Drawing:
    energies = [cost.parts[name].joules / cost.tokens for name in PARTS]
    drawing = new_drawing(width, 18 * len(PARTS) + 24)
    axes = drawing.add_subplot(title="energy per token")
    colours = [
        "analog" if name == "analog" else "control" if name == "waiting" else "digital" for name in PARTS
    ]
    rows = range(len(PARTS))
    axes.barh(rows, energies, height=0.65, color=[LIGHT[colour] for colour in colours])
    axes.set_yticks(rows, [PART_NAMES[name] for name in PARTS])
    axes.secondary_yaxis("right").set_yticks(rows, [quantity(energy, "J") for energy in energies])
    axes.invert_yaxis()
    axes.grid(False)
    for each in (axes, *axes.child_axes):
        each.spines[:].set_visible(False)
        each.tick_params(length=0, labelbottom=False)
    return drawing
