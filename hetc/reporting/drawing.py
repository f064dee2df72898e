"""Drawing charts as SVG: a canvas, scales, axes, and labels that keep clear of each other.

Colours are classes of chart.css, so that a chart follows the page's colour scheme; `standalone` writes the
light ones into the file for a paper.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from xml.etree import ElementTree

__all__ = [
    "DARK",
    "LIGHT",
    "LINE",
    "MARKERS",
    "Canvas",
    "Figure",
    "Frame",
    "Scale",
    "chart_style",
    "printable",
    "standalone",
    "text_width",
]

LIGHT = {
    "surface": "#ffffff",
    "ink": "#1b1f24",
    "faint": "#5c6570",
    "grid": "#dfe3e8",
    "digital": "#0b66b0",
    "analog": "#b84c00",
    "series-0": "#0b66b0",
    "series-1": "#b84c00",
    "series-2": "#00805c",
    "series-3": "#a8407f",
    "series-4": "#8a6500",
    "series-5": "#4a4fb5",
    "control": "#6b737d",
}
DARK = {
    "surface": "#15181c",
    "ink": "#e8ebee",
    "faint": "#a3acb6",
    "grid": "#333a42",
    "digital": "#5cb3f0",
    "analog": "#f39150",
    "series-0": "#5cb3f0",
    "series-1": "#f39150",
    "series-2": "#3cc79b",
    "series-3": "#e59bc8",
    "series-4": "#e3bd4f",
    "series-5": "#a3a7f5",
    "control": "#a3acb6",
}
"""Blue and orange differ for the colour-blind, too; what colours say, sizes, shapes or labels say as well."""

MARKERS = ("circle", "square", "triangle", "diamond", "cross", "bar")
LARGEST = 1e300
"""What scales hold at most, so that the distance of two values is finite."""
LINE = 15
"""Height of a line of chart text in pixels."""


@dataclass(frozen=True)
class Figure:
    """A chart and the table behind it.

    Attributes:
        name: File name without ending.
        title: What it shows.
        svg: The chart.
        columns: Names of the table's columns.
        rows: The table.
        note: A sentence below the title.
    """

    name: str
    title: str
    svg: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    note: str = ""


def printable(text: str) -> str:
    """The text with a mark in place of every character that XML and terminals can't show as one."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def text_width(text: str) -> float:
    """About how wide a line of chart text is, in pixels."""
    return 7.3 * len(text)


class Canvas:
    """An SVG image in the making.

    Args:
        width: In pixels.
        height: In pixels.
        label: What a screen reader says of it.
        role: `img`, or `grid` for one whose cells take the focus.
    """

    def __init__(self, width: float, height: float, label: str, role: str = "img") -> None:
        size = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"}
        self.root = ElementTree.Element(
            "svg", {"class": "chart", "role": role, "aria-label": printable(label), **size}
        )

    def add(
        self, tag: str, text: str = "", *, parent: ElementTree.Element | None = None, **attributes: object
    ) -> ElementTree.Element:
        """Adds an element; `class_` and `text_anchor` become `class` and `text-anchor`."""
        element = ElementTree.SubElement(self.root if parent is None else parent, tag)
        for key, value in attributes.items():
            shown = f"{value:.5g}" if isinstance(value, float) else str(value)
            element.set(key.rstrip("_").replace("_", "-"), printable(shown))
        element.text = printable(text) or None
        return element

    def marker(self, shape: str, x: float, y: float, class_: str, label: str = "") -> None:
        """One of `MARKERS`; `label` is shown when the pointer rests on it."""
        paths = {
            "square": f"M{x - 4:.1f} {y - 4:.1f}h8v8h-8z",
            "triangle": f"M{x:.1f} {y - 5:.1f}l5 9h-10z",
            "diamond": f"M{x:.1f} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
            "cross": f"M{x - 1.5:.1f} {y - 5:.1f}h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z",
            "bar": f"M{x - 5:.1f} {y - 2:.1f}h10v4h-10z",
        }
        if shape == "circle":
            element = self.add("circle", cx=x, cy=y, r=4.5, class_=class_)
        else:
            element = self.add("path", d=paths[shape], class_=class_)
        if label:
            self.add("title", label, parent=element)

    def to_svg(self) -> str:
        """The image as text, to be put into a page."""
        return ElementTree.tostring(self.root, encoding="unicode")


@dataclass(frozen=True)
class Scale:
    """Maps low..high to start..end.

    Attributes:
        low: Value at `start`.
        high: Value at `end`.
        start: In pixels.
        end: In pixels.
    """

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Iterable[float], start: float, end: float) -> Scale:
        """One that holds all values, with a margin of a twentieth."""
        known = [min(max(value, -LARGEST), LARGEST) for value in values]
        low, high = min(known), max(known)
        margin = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
        return cls(low - margin, high + margin, start, end)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round numbers in the range, about `wanted`."""
        rough = (self.high - self.low) / wanted
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Frame:
    """A plot's area with its axes.

    Attributes:
        canvas: Where it is drawn.
        x: Scale of the horizontal axis.
        y: Scale of the vertical axis.
    """

    canvas: Canvas
    x: Scale
    y: Scale

    def draw_x_axis(self, title: str, ticks: Sequence[float] = (), *, percent: bool = False) -> None:
        """Ticks below the plot, and the axis's title with its unit."""
        base = max(self.y.start, self.y.end)
        for value in ticks or self.x.ticks(4):
            text = f"{100 * value:g} %" if percent else f"{value:.6g}"
            self.canvas.add("line", x1=self.x(value), x2=self.x(value), y1=base, y2=base + 4, class_="axis")
            self.canvas.add("text", text, x=self.x(value), y=base + 18, text_anchor="middle")
        self.canvas.add("line", x1=self.x.start, x2=self.x.end, y1=base, y2=base, class_="axis")
        middle = (self.x.start + self.x.end) / 2
        self.canvas.add("text", title, x=middle, y=base + 36, text_anchor="middle", class_="faint")

    def draw_y_axis(self, title: str) -> None:
        """Ticks with grid lines, and the title above the axis, so that nobody has to turn the head."""
        for value in self.y.ticks():
            at = self.y(value)
            self.canvas.add("line", x1=self.x.start, x2=self.x.end, y1=at, y2=at, class_="grid")
            self.canvas.add("text", f"{value:.6g}", x=self.x.start - 6, y=at + 4, text_anchor="end")
        self.canvas.add("text", title, x=4, y=14, class_="faint")

    def label_ends(self, ends: Sequence[tuple[str, float, str, str]]) -> None:
        """Names series at the right edge, at the height in pixels of their last point, kept apart.

        Args:
            ends: Name, height, class and marker of each.
        """
        bottom = max(self.y.start, self.y.end)
        placed = [height for _, height, *_ in ends]
        order = sorted(range(len(ends)), key=placed.__getitem__)
        for above, below in pairwise(order):
            placed[below] = max(placed[below], placed[above] + LINE)
        excess = max(0.0, placed[order[-1]] - bottom) if order else 0.0
        limit = bottom
        for index in reversed(order if excess else []):
            placed[index] = min(placed[index], limit)
            limit = placed[index] - LINE
        for (name, _, class_, marker), height in zip(ends, placed, strict=True):
            self.canvas.marker(marker, self.x.end + 12, height, f"mark {class_}")
            self.canvas.add("text", name, x=self.x.end + 21, y=height + 4, class_=f"{class_} label")


def chart_style() -> str:
    """chart.css, which colours charts by variables."""
    return resources.files("hetc.reporting").joinpath("chart.css").read_text("utf-8")


def standalone(svg: str) -> str:
    """The chart as a file of its own, in light colours, without CSS variables: few tools know them."""
    style = re.sub(r"var\(--([\w-]+)\)", lambda match: LIGHT[match[1]], chart_style())
    opening, rest = svg.split(">", 1)
    opening = opening.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return f"{opening}><style>{style}</style>{rest}\n"
