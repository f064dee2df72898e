"""A figure: what it shows, the table behind it, and how it becomes a file or a part of a page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import matplotlib
from matplotlib.figure import Figure as Drawing

from hetc.base.errors import UsageError
from hetc.base.frames import to_frame
from hetc.reporting.style import LIGHT, SETTINGS, printable, shortened, text_width, without_glyph_warnings

if TYPE_CHECKING:
    import pandas

__all__ = [
    "CELLS",
    "COLUMN",
    "FORMATS",
    "PAGE",
    "POINTS_PER_MM",
    "Draw",
    "Figure",
    "add_legend",
    "drawing_style",
    "new_drawing",
    "page_svg",
    "parse_width",
    "save_figure",
    "table_text",
]

POINTS_PER_MM = 72 / 25.4
COLUMN, PAGE = 85 * POINTS_PER_MM, 170 * POINTS_PER_MM
"""Widths of a column and of a page of a paper, in points."""
NARROWEST, WIDEST = 60, 500
"""Widths that figures are drawn at, in mm."""

FORMATS: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
"""With what takes the time of day out of them, so that equal figures are equal files."""
METADATA = ("Creator", "Date", "Format", "Type")
"""What matplotlib writes into every SVG."""
PIXELS_PER_POINT = 1.5
"""On a page: 8 pt are 12 pixels, and a paper's column is as wide as a phone."""
LINE = 12.0
"""Height of a line of text in points."""
CELLS = "cells"
"""gid of what has a mark for each row of the table, in the order of the rows; on pages a class."""

COLOUR = re.compile("#[0-9a-f]{6}")
VARIABLES = {colour: f"var(--{name})" for name, colour in LIGHT.items()}

Draw = Callable[[float], Drawing]
"""From the width in points to the drawing."""


@dataclass(frozen=True)
class Figure:
    """A chart and the table behind it.

    Attributes:
        name: File name without ending.
        title: What it shows.
        draw: Draws the chart.
        columns: Names of the table's columns.
        rows: The table.
        note: A sentence below the title.
        wide: Whether it has a form of its own for wide pages.
    """

    name: str
    title: str
    draw: Draw = field(repr=False)
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...] = field(repr=False)
    note: str = ""
    wide: bool = False

    def to_dataframe(self) -> pandas.DataFrame:
        """The table as a pandas frame.

        Raises:
            RuntimeMissingError: pandas is not installed.
        """
        return to_frame([dict(zip(self.columns, row, strict=True)) for row in self.rows], self.columns)

    def _repr_svg_(self) -> str:
        """What a notebook shows: the chart."""
        return _svg(self, PAGE if self.wide else COLUMN, self.name)


def parse_width(text: str) -> float:
    """`85mm`, `17 cm` or `3.3in` in points.

    Raises:
        UsageError: No such width, or one that nothing can be drawn at.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(mm|cm|in)", text.strip())
    if match is None:
        raise UsageError(f"width {text!r} is not a width such as 85mm, 8.5cm or 3.35in")
    width = float(match[1]) * {"mm": 1, "cm": 10, "in": 25.4}[match[2]]
    if not NARROWEST <= width <= WIDEST:
        raise UsageError(f"width {text}: figures are drawn at {NARROWEST} to {WIDEST} mm")
    return width * POINTS_PER_MM


def new_drawing(width: float, height: float) -> Drawing:
    """An empty drawing of that size in points; everything in it is laid out to fit."""
    return Drawing(figsize=(width / 72, height / 72), layout="constrained")


def add_legend(drawing: Drawing, handles: Mapping[str, Any], width: float) -> None:
    """A legend below the plot, in as many columns as fit; the drawing grows by its height.

    Args:
        drawing: Where to.
        handles: By its label, what each line or marker looks like.
        width: Of the drawing in points.
    """
    shown = [shortened(label) for label in handles]
    column = max(map(text_width, shown)) + 34
    columns = max(1, min(len(shown), int(width // column)))
    lines = -(-len(shown) // columns)
    drawing.set_figheight(drawing.get_figheight() + LINE * (lines + 0.5) / 72)
    drawing.legend(handles.values(), shown, loc="outside lower left", ncols=columns, borderpad=0.2)


@contextmanager
def drawing_style(**more: Any) -> Iterator[None]:
    """matplotlib's settings while figures are drawn and written, and `more` of them."""
    settings: Any = {**SETTINGS, **more}
    with matplotlib.rc_context(settings), without_glyph_warnings():
        yield


def save_figure(figure: Figure, files: Mapping[str, Path], width: float) -> None:
    """Writes a figure with its fonts embedded, in light colours.

    Args:
        figure: What to draw.
        files: Where to, by format: `svg`, `pdf` or `png`.
        width: In points.
    """
    with drawing_style(**{"svg.hashsalt": printable(figure.name)}):
        drawing = figure.draw(width)
        drawing.draw_without_rendering()
        drawing.set_layout_engine("none")  # laid out once, it is the same in all formats
        for form, path in files.items():
            content = io.BytesIO()  # matplotlib says little of a disk that is full
            drawing.savefig(content, format=form, metadata=FORMATS[form])
            path.write_bytes(content.getvalue())


def page_svg(figure: Figure, width: float, *, salt: str) -> str:
    """The chart as a part of a page whose colours are variables of their names.

    Args:
        figure: What to draw.
        width: In points.
        salt: What tells the ids of this chart from those of others on the page.
    """
    # In styles alone: a name may look like a colour.
    recoloured = partial(COLOUR.sub, lambda colour: VARIABLES.get(colour[0], colour[0]))
    return re.sub(r'style="[^"]*"', lambda style: recoloured(style[0]), _svg(figure, width, salt))


def _svg(figure: Figure, width: float, salt: str) -> str:
    """The chart as an element of HTML in which text stays text."""
    buffer = io.StringIO()
    with drawing_style(**{"svg.fonttype": "none", "svg.hashsalt": printable(salt)}):
        drawing = figure.draw(width)
        drawing.savefig(buffer, format="svg", metadata=dict.fromkeys(METADATA))
    size = [72 * inches for inches in drawing.get_size_inches()]
    shown = [f"{PIXELS_PER_POINT * points:.0f}" for points in size]
    head = (
        f'<svg class="chart" role="img" aria-label={quoteattr(printable(figure.title))} '
        f'viewBox="0 0 {size[0]:.6g} {size[1]:.6g}" width="{shown[0]}" height="{shown[1]}" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    _, _, body = buffer.getvalue().partition("</defs>")
    # Ids of groups are counted, the same in every chart; nothing refers to them.
    return head + re.sub('<g id="[^"]*"', "<g", body.replace(f'<g id="{CELLS}"', f'<g class="{CELLS}"'))


def table_text(value: object) -> str:
    """A value as the tables on pages show it; None is an empty cell."""
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))
