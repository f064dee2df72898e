"""Figures of a plan: cells, scores and costs are those of the plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from chart_text import crowded, labels_of, outside
from drawings import BASIS, axes_of, drawn
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex
from models import moe_model
from report_data import PLAN

from hetc.compiler.placement import Placement, make_plan
from hetc.costing.cost import plan_cost
from hetc.hardware.profile import Profile
from hetc.model.load import load_model
from hetc.reporting.figure import (
    COLUMN,
    PAGE,
    page_svg,
)
from hetc.reporting.placement_figure import placement_figure
from hetc.reporting.plan_figures import cost_figures, score_figures
from hetc.reporting.style import LIGHT, RAMP


@pytest.mark.parametrize("experts", [5, 64, 200])
def test_cells_fit_however_many_experts_there_are(experts: int) -> None:
    (expert, *_) = (unit for unit in PLAN.units if unit.kind == "expert")
    others = tuple(unit for unit in PLAN.units if unit.kind != "expert")
    many = [
        replace(expert, id=f"layers.{layer}.experts.{number}", layer=layer, expert=number)
        for layer in (0, 1)
        for number in range(experts)
    ]
    figure = placement_figure(replace(PLAN, units=(*others, *many)), BASIS)
    for width in (COLUMN, PAGE):
        svg = page_svg(figure, width, salt="")
        assert (outside(svg), crowded(svg)) == ([], [])
        axes = drawn(figure, width).axes[0]
        points = np.concatenate(cells_of(axes))
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert left <= points[:, 0].min() and points[:, 0].max() <= right
        assert top <= points[:, 1].min() and points[:, 1].max() <= bottom
        assert (right - left) * 6 <= width, "cells are large enough to be seen and pointed at"


def cells_of(axes: Axes) -> list[np.ndarray]:
    """The corners of every unit's cell."""
    (cells,) = (each for each in axes.collections if each.get_gid() == "cells")
    return [path.vertices for path in cells.get_paths()]


def test_placement_has_a_cell_for_every_unit() -> None:
    figure = placement_figure(PLAN, BASIS)
    axes = axes_of(figure)
    (cells,) = (each for each in axes.collections if each.get_gid() == "cells")
    assert isinstance(cells, PolyCollection)
    colours = [to_hex(colour) for colour in cells.get_facecolor()]
    names = {colour: name for name, colour in LIGHT.items()}
    assert [names[colour][:-1] for colour in colours] == [unit.target for unit in PLAN.units]
    sides = [np.ptp(corners[:, 0]) for corners in cells_of(axes)]
    digital, analog = (
        {round(side, 6) for side, unit in zip(sides, PLAN.units, strict=True) if unit.target == target}
        for target in ("digital", "analog")
    )
    assert max(analog) < min(digital), "colours are not all that tells targets apart"
    assert [row[0] for row in figure.rows] == [unit.id for unit in PLAN.units]
    svg = page_svg(figure, COLUMN, salt="")
    group = svg[svg.index('class="cells"') :].partition("</g>")[0]
    assert group.count("<path") == len(PLAN.units)


def test_stronger_is_a_higher_score() -> None:
    (cells,) = (
        each for each in axes_of(placement_figure(PLAN, BASIS)).collections if each.get_gid() == "cells"
    )
    names = {colour: name for name, colour in LIGHT.items()}
    steps = [int(names[to_hex(colour)][-1]) for colour in cells.get_facecolor()]
    scored = [(unit.score["maxnn"], step) for unit, step in zip(PLAN.units, steps, strict=True) if unit.score]
    assert [step for _, step in sorted(scored)] == sorted(step for _, step in scored)
    assert {step for _, step in scored} == set(range(RAMP))


def test_scores_have_a_mark_for_every_expert() -> None:
    (figure,) = score_figures(PLAN)
    lines = [each for each in axes_of(figure).collections if isinstance(each, LineCollection)]
    marks = sorted(segment[0][0] for each in lines for segment in each.get_segments())
    assert marks == sorted(row[3] for row in figure.rows)
    assert len(marks) == sum(unit.kind == "expert" for unit in PLAN.units)


def test_costs_add_up() -> None:
    cost = plan_cost(PLAN.units, BASIS.costs, BASIS.workload)
    (figure,) = cost_figures({"decode": cost})
    assert sum(row[3] for row in figure.rows) == pytest.approx(cost.joules_per_token)
    assert [bar.get_width() for bar in axes_of(figure).patches] == [row[3] for row in figure.rows]


def test_parts_of_experts_are_told_from_none() -> None:
    """Where neurons are placed, an expert of which some are digital looks digital."""
    chosen = Placement(digital_frac="0.25", granularity="neuron", score="maxnn")
    plan = make_plan(load_model(moe_model()), chosen, Profile())
    shares = [unit.digital_share for unit in plan.units if unit.kind == "expert"]
    assert sum(share > 0 for share in shares) > 0 and not all(share in (0, 1) for share in shares)
    (figure, *_) = score_figures(plan)
    digital, analog = (each for each in axes_of(figure).collections if isinstance(each, LineCollection))
    assert len(digital.get_segments()) == sum(share > 0 for share in shares)
    assert len(analog.get_segments()) == sum(share == 0 for share in shares)
    for one in (figure, placement_figure(plan, BASIS)):
        shown = [label.text for label in labels_of(page_svg(one, COLUMN, salt=""))]
        assert any(text.startswith("some neurons digital") for text in shown)
        assert "none digital" in shown


def test_scores_of_a_dense_model_are_those_of_its_mlps() -> None:
    mlps = tuple(
        replace(unit, id=f"layers.{unit.layer}.mlp", kind="dense_mlp", expert=None)
        for unit in PLAN.units
        if unit.expert == 0
    )
    (figure,) = score_figures(replace(PLAN, units=mlps))
    assert [row[0] for row in figure.rows] == [unit.id for unit in mlps]
    assert figure.note == "One line per MLP."
