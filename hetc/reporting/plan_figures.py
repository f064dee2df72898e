"""Figures of a plan's scores and of its costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hetc.base.quantity import quantity
from hetc.costing.cost import PART_NAMES, PARTS, Cost
from hetc.costing.work import Phase
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.words import TARGETS
from hetc.reporting.figure import LINE, Figure, add_legend, new_drawing
from hetc.reporting.style import LIGHT, shortened, text_width

__all__ = ["cost_figures", "score_figures"]

HALF = {"digital": 0.4, "analog": 0.2}
"""Half the length of an expert's line, so that nobody needs the colours to tell targets apart."""


def score_figures(plan: Plan) -> list[Figure]:
    """For each score, every expert as a line at its score, layer by layer."""
    names = dict.fromkeys(name for unit in plan.units if unit.kind == "expert" for name in unit.score)
    return [_score_figure(plan, name) for name in names]


def cost_figures(found: Mapping[Phase, Cost]) -> list[Figure]:
    """For each phase, the energy per token of each part."""
    return [_cost_figure(phase, cost) for phase, cost in found.items()]


def _score_figure(plan: Plan, name: str) -> Figure:
    experts = [unit for unit in plan.units if unit.kind == "expert" and name in unit.score]
    columns = ("layer", "expert", "target", name)
    rows = tuple((unit.layer, unit.expert, unit.target, unit.score[name]) for unit in experts)
    note = "One line per expert."
    return Figure(
        f"scores-{name}",
        f"Scores: {name}",
        lambda width: _draw_scores(experts, name, width),
        columns,
        rows,
        note,
    )


def _draw_scores(experts: Sequence[PlannedUnit], name: str, width: float) -> Drawing:
    layers = sorted({-1 if unit.layer is None else unit.layer for unit in experts})
    row_of = {layer: row for row, layer in enumerate(layers)}
    drawing = new_drawing(width, 50 + max(60, 10 * len(layers)))
    axes = drawing.add_subplot()
    for target in TARGETS:
        own = [unit for unit in experts if unit.target == target]
        rows = [row_of[-1 if unit.layer is None else unit.layer] for unit in own]
        lows, highs = ([row + sign * HALF[target] for row in rows] for sign in (-1, 1))
        axes.vlines([unit.score[name] for unit in own], lows, highs, color=LIGHT[target], linewidth=1.2)
    axes.set(ylim=(len(layers) - 0.5, -0.5), ylabel="layer", xlabel=shortened(name, width - 90))
    axes.grid(False, axis="y")
    axes.yaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.yaxis.set_major_formatter(
        lambda row, _: shortened(str(layers[int(row)]), 40) if 0 <= row < len(layers) else ""
    )
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker="|",
            color=LIGHT[each],
            markersize=14 * HALF[each] + 4,
            markeredgewidth=1.4,
        )
        for each in TARGETS
    ]
    add_legend(drawing, handles, list(TARGETS), width)
    return drawing


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
    labels = [quantity(energy, "J") for energy in energies]
    drawing = new_drawing(width, LINE * 1.5 * len(PARTS) + 24)
    axes = drawing.add_subplot()
    colours = [
        "analog" if name == "analog" else "control" if name == "waiting" else "digital" for name in PARTS
    ]
    names = [PART_NAMES[name] for name in PARTS]
    bars = axes.barh(names, energies, height=0.65, color=[LIGHT[colour] for colour in colours])
    axes.bar_label(bars, labels, padding=3)
    # The longest bar leaves room for its label.
    room = width - max(map(text_width, names)) - 24
    axes.set_xlim(0, (max(energies) or 1.0) * room / (room - max(map(text_width, labels)) - 6))
    axes.invert_yaxis()
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelbottom=False)
    axes.set_title("energy per token")
    return drawing
