"""What every figure has: text that fits, contrast, its width, and its fonts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from chart_text import crowded, labels_of, outside
from drawings import drawn, plan_figures, result_figures
from hypothesis import given, settings
from hypothesis import strategies as st
from report_data import BY_SCALE, RESULTS

from hetc.base.errors import UsageError
from hetc.evaluation.results import Result
from hetc.reporting.figure import (
    COLUMN,
    FORMATS,
    PAGE,
    POINTS_PER_MM,
    page_svg,
    parse_width,
    save_figure,
)
from hetc.reporting.result_figures import (
    fraction_figures,
    scale_figures,
)
from hetc.reporting.style import DARK, LIGHT, NAME_WIDTH, RAMP, shortened, text_width

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
SMALL = [replace(result, value=2.0 + 1e-4 * result.value) for result in RESULTS]
"""Ticks with long numbers."""


@pytest.mark.parametrize("width", [COLUMN, PAGE], ids=["column", "page"])
@pytest.mark.parametrize("results", [None, RESULTS, LONG, SMALL], ids=["plan", "names", "long", "numbers"])
def test_every_text_can_be_read(results: Sequence[Result] | None, width: float) -> None:
    """None is cut, stands on another, so near that both read as one, or is smaller than 6 points."""
    for figure in plan_figures() if results is None else result_figures(results):
        svg = page_svg(figure, width, salt="")
        labels = labels_of(svg)
        assert min(label.size for label in labels) >= 6
        assert (figure.name, outside(svg), crowded(svg)) == (figure.name, [], [])


def test_plots_stand_side_by_side_where_there_is_room() -> None:
    (figure, *_) = scale_figures(BY_SCALE)
    svg = page_svg(figure, PAGE, salt="")
    assert (outside(svg), crowded(svg)) == ([], [])
    left, right = (axes.get_position() for axes in drawn(figure, PAGE).axes)
    assert left.x1 < right.x0 and left.y0 == right.y0


def test_a_page_colours_its_charts() -> None:
    svg = page_svg(fraction_figures(RESULTS)[0], COLUMN, salt="")
    assert re.findall("#[0-9a-f]{6}", svg) == [], "every colour is a variable"
    assert set(re.findall(r"var\(--(\w+)\)", svg)) <= LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)


def test_files_hold_their_fonts_and_have_their_width(tmp_path: Path) -> None:
    files = {form: tmp_path / f"one.{form}" for form in FORMATS}
    save_figure(fraction_figures(RESULTS)[0], files, parse_width("90mm"))
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


@settings(max_examples=8)
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
