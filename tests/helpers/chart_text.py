"""Where the words of a chart stand, read from its SVG."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations
from xml.etree import ElementTree

from hetc.reporting.style import text_width

__all__ = ["Label", "crowded", "labels_of", "outside"]

SVG = "{http://www.w3.org/2000/svg}"
APART = 2.0
"""Points between words that stand beside each other."""


@dataclass(frozen=True)
class Label:
    """A line of text with its box and its size in points."""

    text: str
    size: float
    left: float
    top: float
    right: float
    bottom: float


def labels_of(svg: str) -> list[Label]:
    """Every line of text of a chart that `hetc.reporting.figure.page_svg` made."""
    return [_label(element) for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def outside(svg: str) -> list[str]:
    """Text that the chart's edge cuts."""
    width, height = map(float, ElementTree.fromstring(svg).attrib["viewBox"].split()[2:])
    return [
        label.text
        for label in labels_of(svg)
        if label.left < -0.5 or label.top < -0.5 or label.right > width + 0.5 or label.bottom > height + 0.5
    ]


def crowded(svg: str) -> list[tuple[str, str]]:
    """Pairs of texts that stand on each other, or so near beside each other that they read as one."""
    return [
        (one.text, two.text)
        for one, two in combinations(labels_of(svg), 2)
        if min(one.right, two.right) - max(one.left, two.left) > -APART
        and min(one.bottom, two.bottom) - max(one.top, two.top) > 1
    ]


def _label(element: ElementTree.Element) -> Label:
    style, transform = element.get("style", ""), element.get("transform", "")
    size = float(re.search(r"font(?:-size)?: ?([\d.]+)px", style)[1])  # type: ignore[index]
    text = element.text or ""
    width = text_width(text, size)
    at = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", transform)
    x, y = map(float, at.groups() if at else (element.attrib["x"], element.attrib["y"]))
    if "rotate(-90" in transform:
        return Label(text, size, x - 0.75 * size, y - width, x + 0.2 * size, y)
    anchor = re.search(r"text-anchor: (\w+)", style)
    left = x - width * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor[1] if anchor else "start"]
    return Label(text, size, left, y - 0.75 * size, left + width, y + 0.2 * size)
