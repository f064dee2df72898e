"""Figures: what they draw is what the table says, and marks sit where the scales put them."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_data import PLAN, RESULTS

from hetc.base.quantity import quantity
from hetc.costing.cost import plan_cost
from hetc.costing.profile import load_costs
from hetc.costing.work import Workload
from hetc.evaluation.results import OVER_MODEL
from hetc.reporting.drawing import DARK, LIGHT, Canvas, Frame, Scale, standalone
from hetc.reporting.plan_figures import cost_figures, placement_figure, score_figures
from hetc.reporting.result_figures import (
    energy_figures,
    fraction_figures,
    pareto_front,
    sensitivity_figures,
)

SYSTEM = load_costs()
WORKLOAD = Workload("decode", 2, 8)


def elements(svg: str, tag: str, class_: str) -> list[ElementTree.Element]:
    return [each for each in ElementTree.fromstring(svg).iter(tag) if class_ in each.get("class", "").split()]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low: float, width: float) -> None:
    ticks = Scale(low, low + width, 0, 100).ticks()
    assert 1 <= len(ticks) <= 7
    assert all(low - 1e-9 * width - 1e-9 <= tick <= low + width + 1e-9 * width + 1e-9 for tick in ticks)


def test_scale_is_linear() -> None:
    scale = Scale(10, 20, 100, 300)
    assert [scale(10), scale(15), scale(20)] == [100, 200, 300]


@pytest.mark.parametrize("heights", [[50.0] * 5, [10.0, 200.0, 201.0, 202.0], [239.0, 240.0]])
def test_end_labels_keep_apart_and_inside(heights: list[float]) -> None:
    canvas = Canvas(400, 300, "x")
    frame = Frame(canvas, Scale(0, 1, 50, 200), Scale(0, 1, 240, 30))
    frame.label_ends([(f"s{index}", height, "series-0", "circle") for index, height in enumerate(heights)])
    placed = sorted(float(each.get("y", "")) - 4 for each in elements(canvas.to_svg(), "text", "label"))
    assert all(b - a >= 14.9 for a, b in pairwise(placed))
    assert placed[-1] <= 240


def test_quantities() -> None:
    shown = [quantity(value, "J") for value in (0, 2.37e-8, 0.0123, 999.9, 4.2e15, 1e-16)]
    assert shown == ["0 J", "23.7 nJ", "12.3 mJ", "1 kJ", "4.2e+03 TJ", "0.0001 pJ"]


def test_placement_has_a_cell_for_every_unit() -> None:
    figure = placement_figure(PLAN, SYSTEM, WORKLOAD, "serial")
    for target in ("analog", "digital"):
        cells = [cell for cell in elements(figure.svg, "rect", target) if cell.get("role") == "gridcell"]
        assert len(cells) == sum(unit.target == target for unit in PLAN.units)
    (label,) = re.findall(r'aria-label="(layers\.1\.experts\.2:[^"]*)"', figure.svg)
    unit = PLAN.by_id["layers.1.experts.2"]
    assert unit.reason in label and "J/token analog" in label and "J/token digital" in label
    assert figure.svg.count('tabindex="0"') == 1
    assert [row[0] for row in figure.rows] == [unit.id for unit in PLAN.units]


def test_stronger_is_a_higher_score() -> None:
    figure = placement_figure(PLAN, SYSTEM, WORKLOAD, "serial")
    opacity = {
        cell.get("aria-label", "").split(":")[0]: float(cell.get("fill-opacity", "nan"))
        for cell in ElementTree.fromstring(figure.svg).iter("rect")
        if cell.get("role") == "gridcell"
    }
    experts = sorted((unit for unit in PLAN.units if unit.score), key=lambda unit: unit.score["maxnn"])
    order = [opacity[unit.id] for unit in experts]
    assert order == sorted(order)


def test_scores_have_a_mark_for_every_expert() -> None:
    (figure,) = score_figures(PLAN)
    marks = [each for each in elements(figure.svg, "rect", "mark") if each.get("width") == "2"]
    assert len(marks) == len(figure.rows) == sum(unit.kind == "expert" for unit in PLAN.units)


def test_costs_add_up() -> None:
    cost = plan_cost(PLAN.units, SYSTEM, WORKLOAD)
    (figure,) = cost_figures({"decode": cost})
    assert sum(row[3] for row in figure.rows) == pytest.approx(cost.joules_per_token)


def test_fraction_points_lie_at_their_means() -> None:
    loss, accuracy = fraction_figures(RESULTS)
    assert "lower is better" in loss.svg and "higher is better" in accuracy.svg
    assert "nats/token" in loss.svg
    for figure in (loss, accuracy):
        lines = elements(figure.svg, "polyline", "line")
        assert lines
        for line in lines:
            heights = [float(point.split(",")[1]) for point in line.get("points", "").split()]
            colour = line.get("class", "").split()[1]
            score = {"series-0": "maxnn", "series-1": "expected-loss", "control": "random"}[colour]
            means = [row[2] for row in figure.rows if row[0] == score]
            assert sorted(range(3), key=heights.__getitem__) == sorted(range(3), key=lambda i: -means[i])
        assert len(elements(figure.svg, "path", "error")) == sum(row[3] > 0 for row in figure.rows)


def test_scores_that_rank_over_the_model_have_figures_of_their_own() -> None:
    ranked = [replace(result, score=f"{result.score}{OVER_MODEL}") for result in RESULTS if not result.kind]
    layer, model = fraction_figures(RESULTS), fraction_figures([*RESULTS, *ranked])
    assert model[:2] == layer
    titles = [figure.title.replace(")", ", ranked over the model)") for figure in layer]
    assert [figure.title for figure in model[2:]] == titles
    assert [figure.rows for figure in model[2:]] == [figure.rows for figure in layer]
    assert len({figure.name for figure in model}) == 4


def test_many_scores_have_looks_of_their_own() -> None:
    many = [replace(RESULTS[0], score=f"score {index}") for index in range(20)]
    (figure,) = fraction_figures(many)
    labels = [each.get("class") for each in elements(figure.svg, "text", "label")]
    marks = [
        each.tag + (each.get("d") or "")[-9:]
        for each in ElementTree.fromstring(figure.svg).iter()
        if "mark" in each.get("class", "").split()
    ]
    assert len(labels) == 20
    assert len({(label, mark) for label, mark in zip(labels, marks[-20:], strict=True)}) == 20


def test_means_and_deviations_are_those_of_the_results() -> None:
    figure = fraction_figures(RESULTS)[0]
    score, fraction, mean, deviation, seeds = figure.rows[0]
    values = [
        r.value for r in RESULTS if (r.score, r.fraction, r.metric, r.kind) == (score, fraction, "loss", "")
    ]
    assert seeds == len(values) == 4
    assert mean == pytest.approx(sum(values) / 4)
    assert deviation == pytest.approx((sum((value - mean) ** 2 for value in values) / 3) ** 0.5)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12),
    st.booleans(),
)
def test_pareto_front(points: list[tuple[int, int]], higher: bool) -> None:
    sign = 1 if higher else -1
    front = pareto_front(points, higher_is_better=higher)

    def beaten(point: tuple[float, float]) -> bool:
        return any(x <= point[0] and sign * y >= sign * point[1] and (x, y) != point for x, y in points)

    assert set(front) == {point for point in points if not beaten(point)}


def test_energy_marks_the_front() -> None:
    loss, _ = energy_figures(RESULTS, lambda fraction: 1e-3 * (1 + fraction))
    front = {(row[2], row[3]) for row in loss.rows if row[4] == "yes"}
    assert front == set(pareto_front([(row[2], row[3]) for row in loss.rows], higher_is_better=False))
    assert {row[2] for row in loss.rows} == {1.0, 1.25, 1.5}


def test_sensitivity_has_all_digital_first() -> None:
    (figure,) = sensitivity_figures(RESULTS)
    assert [row[0] for row in figure.rows] == ["none", "lm_head", "attention"]


def test_without_data_there_is_no_figure() -> None:
    assert fraction_figures([]) == energy_figures([], float) == sensitivity_figures([]) == []


def test_standalone_has_its_colours() -> None:
    svg = standalone(fraction_figures(RESULTS)[0].svg)
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in svg and LIGHT["series-0"] in svg


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_contrast(scheme: dict[str, str]) -> None:
    """WCAG 2.1, AA: 4.5 to 1 for text."""

    def luminance(colour: str) -> float:
        channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    surface = luminance(scheme["surface"])
    assert {"surface", "grid", "series-0"} < scheme.keys()
    for name in scheme.keys() - {"surface", "grid"}:
        low, high = sorted((surface, luminance(scheme[name])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, name
