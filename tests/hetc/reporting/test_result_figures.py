"""Figures of measured results: what they draw is what their tables say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from statistics import fmean

import pytest
from chart_text import labels_of
from drawings import axes_of, drawn, energy
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from report_data import BY_SCALE, RESULTS

from hetc.evaluation.results import CONDITIONS, OVER_MODEL, Result
from hetc.reporting.figure import (
    COLUMN,
    Figure,
    page_svg,
)
from hetc.reporting.panels import nearest_scale
from hetc.reporting.result_figures import (
    energy_figures,
    fraction_figures,
    pareto_front,
    scale_figures,
    sensitivity_figures,
)


@cache
def words(figure: Figure, width: float = COLUMN) -> str:
    return "\n".join(label.text for label in labels_of(page_svg(figure, width, salt="")))


def exact(results: Sequence[Result], value: float) -> list[Result]:
    """All digital, as `hetc evaluate --baseline` measures it."""
    conditions = tuple("exact" if name == "mode" else "" for name in CONDITIONS)
    return [replace(results[0], value=value, conditions=conditions)]


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
    chosen = nearest_scale([*BY_SCALE, replace(exact(BY_SCALE, 0.5)[0], noise_scale=3.0)], 3.0)
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
    front = [(row[2], row[3]) for row in figure.rows if row[4]]
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
