"""Figures: what they draw is what the table says, it fits, and it can be told from what is behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from chart_text import labels_of, outside, overlapping
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure as Drawing
from report_data import BY_SCALE, PLAN, RESULTS

from hetc.base.errors import UsageError
from hetc.base.quantity import quantity
from hetc.costing.cost import CostBasis, plan_cost
from hetc.costing.profile import load_costs
from hetc.costing.work import Workload
from hetc.evaluation.results import CONDITIONS, OVER_MODEL, Result
from hetc.reporting.figure import (
    COLUMN,
    PAGE,
    POINTS_PER_MM,
    Figure,
    drawing_style,
    page_svg,
    parse_width,
    save_figure,
)
from hetc.reporting.panels import nearest_scale
from hetc.reporting.placement_figure import placement_figure
from hetc.reporting.plan_figures import cost_figures, score_figures
from hetc.reporting.result_figures import (
    energy_figures,
    fraction_figures,
    pareto_front,
    scale_figures,
    sensitivity_figures,
)
from hetc.reporting.style import DARK, LIGHT, NAME_WIDTH, RAMP, shortened, text_width

BASIS = CostBasis(load_costs(), Workload("decode", 2, 8))


def energy(fraction: float) -> float:
    return 1e-3 * (1 + fraction)


def drawn(figure: Figure, width: float = COLUMN) -> Drawing:
    with drawing_style():
        return figure.draw(width)


def axes_of(figure: Figure) -> Axes:
    return drawn(figure).axes[0]


@cache
def words(figure: Figure, width: float = COLUMN) -> str:
    return "\n".join(label.text for label in labels_of(page_svg(figure, width, salt="")))


def exact(results: Sequence[Result], value: float) -> list[Result]:
    """All digital, as `hetc evaluate --baseline` measures it."""
    conditions = tuple("exact" if name == "mode" else "" for name in CONDITIONS)
    return [replace(results[0], value=value, conditions=conditions)]


def test_quantities() -> None:
    shown = [quantity(value, "J") for value in (0, 2.37e-8, 0.0123, 999.9, 4.2e15, 1e-16)]
    assert shown == ["0 J", "23.7 nJ", "12.3 mJ", "1 kJ", "4.2e+03 TJ", "0.0001 pJ"]


def every_figure(results: Sequence[Result]) -> list[Figure]:
    cost = plan_cost(PLAN.units, BASIS.costs, BASIS.workload)
    return [
        placement_figure(PLAN, BASIS),
        *score_figures(PLAN),
        *fraction_figures(results)[:1],
        *scale_figures([*results, *BY_SCALE])[-1:],
        *energy_figures(results, energy)[:1],
        *sensitivity_figures(results)[:1],
        *cost_figures({"decode": cost}),
    ]


LONG = [
    replace(
        result,
        score=f"{result.score}, a score with a name that is as long as it should not be {result.fraction}",
        task="a task whose name fills more than one line of any figure that stands in a column of a paper",
        kind=result.kind and f"{result.kind} of a kind that nobody has heard of yet, but that was measured",
        unit="nats for each token of the text that is asked about",
    )
    for result in RESULTS
]


@pytest.mark.parametrize("results", [RESULTS, LONG], ids=["names", "long names"])
def test_no_text_is_cut_or_stands_on_another(results: Sequence[Result]) -> None:
    for figure in every_figure(results):
        svg = page_svg(figure, COLUMN, salt="")
        assert labels_of(svg)
        assert (figure.name, outside(svg), overlapping(svg)) == (figure.name, [], [])


def test_plots_stand_side_by_side_where_there_is_room() -> None:
    (figure, *_) = scale_figures(BY_SCALE)
    svg = page_svg(figure, PAGE, salt="")
    assert (outside(svg), overlapping(svg)) == ([], [])
    left, right = (axes.get_position() for axes in drawn(figure, PAGE).axes)
    assert left.x1 < right.x0 and left.y0 == right.y0


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
        assert (outside(svg), overlapping(svg)) == ([], [])
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


def points_of(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """The points of each series."""
    return {
        container.get_label(): list(zip(*container.lines[0].get_data(), strict=True))
        for container in axes.containers
        if isinstance(container, ErrorbarContainer)
    }


def test_fraction_points_lie_at_their_means() -> None:
    loss, accuracy = fraction_figures(RESULTS)
    assert "loss, nats/token (lower is better)" in words(loss)
    assert "accuracy (higher is better)" in words(accuracy)
    for figure in (loss, accuracy):
        expected: dict[str, list[tuple[float, float]]] = {}
        for score, fraction, mean, *_ in figure.rows:
            expected.setdefault(score, []).append((fraction, mean))
        assert points_of(axes_of(figure)) == expected


def test_figures_say_noise_seeds_and_what_all_digital_gives() -> None:
    values = [result.value for result in RESULTS if result.kind == "none"]
    (figure, _) = fraction_figures(RESULTS)
    (line,) = (line for line in axes_of(figure).lines if line.get_linestyle() == "--")
    assert line.get_ydata()[0] == fmean(values)
    shown = " ".join(words(figure).split())
    assert "pcm, c = 8, 4 seeds" in shown
    assert f"all digital: {fmean(values):.4g}" in shown


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([], None),
        ([replace(RESULTS[0], fraction=1.0, value=2.0)], 2.0),
        ([replace(RESULTS[0], fraction=1.0, value=2.0), *exact(RESULTS, 1.5)], 1.5),
        ([replace(exact(RESULTS, 1.5)[0], task="another")], None),
    ],
    ids=["not measured", "fraction 1", "exact first", "of another task"],
)
def test_where_the_digital_reference_comes_from(more: list[Result], expected: float | None) -> None:
    placed = [result for result in RESULTS if not result.kind and result.metric == "loss"]
    figure = fraction_figures([*placed, *more])[0]
    lines = [line.get_ydata()[0] for line in axes_of(figure).lines if line.get_linestyle() == "--"]
    assert lines == ([] if expected is None else [expected])


def test_many_scales_are_one_figure() -> None:
    loss, accuracy, kinds = scale_figures(BY_SCALE)
    assert not scale_figures(RESULTS)
    assert [figure.columns[-4] for figure in (loss, accuracy, kinds)] == ["c"] * 3
    drawing = drawn(loss)
    # A plot for each fraction between none and all; what has nothing digital is a line in each.
    assert [axes.get_title(loc="left") for axes in drawing.axes] == ["25 % digital", "50 % digital"]
    for axes in drawing.axes:
        assert set(points_of(axes)) == {"maxnn", "expected-loss", "random", "nothing digital"}
        assert {at for points in points_of(axes).values() for at, _ in points} == {1.0, 4.0, 8.0}
    assert set(points_of(axes_of(kinds))) == {"attention", "lm_head"}
    (line,) = (line for line in axes_of(kinds).lines if line.get_linestyle() == "--")
    assert line.get_ydata()[0] == fmean(result.value for result in BY_SCALE if result.kind == "none")


def test_other_figures_show_the_nearest_scale() -> None:
    chosen = nearest_scale(BY_SCALE, 3.0)
    assert {result.noise_scale for result in chosen} == {4.0}
    assert len(chosen) == len(RESULTS)


def test_two_profiles_at_one_scale_are_not_averaged() -> None:
    def of(profile: str) -> list[Result]:
        def conditions(result: Result) -> tuple[str, ...]:
            digest = f"{profile} at {result.noise_scale}"
            return tuple(digest if name == "profile_sha256" else "" for name in CONDITIONS)

        return [replace(result, conditions=conditions(result)) for result in BY_SCALE if not result.kind]

    assert len(scale_figures(of("one"))) == 2
    assert scale_figures([*of("one"), *of("other")]) == []


def test_scores_that_rank_over_the_model_have_figures_of_their_own() -> None:
    ranked = [replace(result, score=f"{result.score}{OVER_MODEL}") for result in RESULTS if not result.kind]
    layer, model = fraction_figures(RESULTS), fraction_figures([*RESULTS, *ranked])
    assert [figure.name for figure in model[:2]] == [figure.name for figure in layer]
    titles = [figure.title.replace(")", ", ranked over the model)") for figure in layer]
    assert [figure.title for figure in model[2:]] == titles
    assert [figure.rows for figure in model[2:]] == [figure.rows for figure in layer]
    assert len({figure.name for figure in model}) == 4


def test_many_scores_have_looks_of_their_own() -> None:
    many = [replace(RESULTS[0], score=f"score {index}") for index in range(20)]
    (figure,) = fraction_figures(many)
    lines = [container.lines[0] for container in axes_of(figure).containers]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 20


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


@pytest.mark.parametrize("chosen", [RESULTS, RESULTS[:1]], ids=["many", "one point"])
def test_the_front_is_a_line(chosen: Sequence[Result]) -> None:
    figure = energy_figures(chosen, energy)[0]
    front = [(row[2], row[3]) for row in figure.rows if row[4] == "yes"]
    assert set(front) == set(pareto_front([row[2:4] for row in figure.rows], higher_is_better=False))
    axes = axes_of(figure)
    (line,) = (line for line in axes.lines if line.get_drawstyle() == "steps-post")
    xs, ys = line.get_data()
    assert set(front) <= set(zip(xs, ys, strict=True))
    assert xs[-1] == axes.get_xlim()[1] > xs[0] and ys[0] == axes.get_ylim()[1] > ys[-1]


def test_sensitivity_has_all_digital_first() -> None:
    (figure,) = sensitivity_figures(RESULTS)
    assert [row[0] for row in figure.rows] == ["none", "lm_head", "attention"]
    assert [label.get_text() for label in axes_of(figure).get_yticklabels()] == [
        "none",
        "lm_head",
        "attention",
    ]


def test_without_data_there_is_no_figure() -> None:
    assert (
        fraction_figures([])
        == energy_figures([], float)
        == sensitivity_figures([])
        == scale_figures([])
        == []
    )


def test_a_page_colours_its_charts() -> None:
    svg = page_svg(fraction_figures(RESULTS)[0], COLUMN, salt="")
    assert re.findall("#[0-9a-f]{6}", svg) == [], "every colour is a variable"
    assert set(re.findall(r"var\(--(\w+)\)", svg)) <= LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)


def test_files_hold_their_fonts_and_have_their_width(tmp_path: Path) -> None:
    save_figure(fraction_figures(RESULTS)[0], tmp_path, "one", parse_width("90mm"))
    pdf = (tmp_path / "one.pdf").read_bytes()
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf
    svg = (tmp_path / "one.svg").read_text("utf-8")
    assert "<text" not in svg and "var(" not in svg and LIGHT["digital"] in svg
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1])  # type: ignore[index]
    assert width / POINTS_PER_MM == pytest.approx(90, abs=0.01)
    assert (tmp_path / "one.png").stat().st_size > 5000


@pytest.mark.parametrize("text", ["85", "wide", "10mm", "9in9", "-85mm", "1000cm"])
def test_widths_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="width"):
        parse_width(text)


def test_widths() -> None:
    assert parse_width("85mm") == COLUMN
    assert parse_width("8.5 cm") == pytest.approx(COLUMN)
    assert parse_width("2.5in") == pytest.approx(180)


@settings(max_examples=25)
@given(st.text(max_size=200))
def test_names_are_cut_to_their_width(name: str) -> None:
    label = shortened(name)
    assert text_width(label) <= NAME_WIDTH
    assert label.isprintable()
    assert label == name or not name.isprintable() or label.endswith("…")


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_everything_has_contrast(scheme: dict[str, str]) -> None:
    """WCAG 2.1, AA: 4.5 to 1 for text, and for lines in a colour of their own; 3 to 1 for cells."""

    def luminance(colour: str) -> float:
        channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    def contrast(name: str) -> float:
        low, high = sorted((luminance(scheme["surface"]), luminance(scheme[name])))
        return (high + 0.05) / (low + 0.05)

    assert {"surface", "grid", "indigo", "digital0", "analog4"} < scheme.keys()
    for name in scheme.keys() - {"surface", "grid"}:
        assert contrast(name) >= (3 if name[-1].isdigit() else 4.5), name
    for target in ("digital", "analog"):
        ramp = [contrast(f"{target}{step}") for step in range(RAMP)]
        assert all(stronger > 1.3 * weaker for weaker, stronger in pairwise(ramp))
