"""Draws the picture of the README: a plan, the way from a model to it, and a layer as it runs.

    python docs/overview.py [FOLDER]

writes overview.svg and, for phones, overview-narrow.svg. The plan is that of the sample with a quarter of its
experts digital, drawn by `hetc report`'s own figure.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from hetc.compiler.costs import open_plan
from hetc.costing.cost import CostBasis
from hetc.costing.profile import load_costs
from hetc.reporting.figure import drawing_style
from hetc.reporting.placement_figure import placement_figure
from hetc.reporting.style import LIGHT, SIZE

ROOT = Path(__file__).resolve().parent.parent
STEPS = (
    ("model.onnx", "of any exporter"),
    ("score", "what would noise cost?"),
    ("place", "digital or analog?"),
    ("rewrite", "noisy operators"),
    ("bundle", "model, plan, library"),
    ("ONNX Runtime", "runs it"),
)
PLAN = "The plan: where each expert of each layer runs, and why"
LAYER = "A layer as ONNX Runtime computes it"
DIGITAL, ANALOG = ("digital0", "digital"), ("analog0", "analog")
PAD = 14.0
"""Between the card's edge and what is on it, in points."""


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "figures"
    for name, narrow in (("overview", False), ("overview-narrow", True)):
        with drawing_style(**{"svg.hashsalt": name}):
            overview(narrow).savefig(folder / f"{name}.svg", facecolor="none", metadata={"Date": None})


def overview(narrow: bool) -> Drawing:
    """The picture, for the width of a page or of a phone; lengths are in points."""
    basis = CostBasis(load_costs())
    figure = placement_figure(open_plan(ROOT / "samples" / "tiny_moe"), basis)
    drawing = figure.draw(276 if narrow else 312)
    drawing.draw_without_rendering()
    drawing.set_layout_engine("none")
    height = drawing.get_figheight() * 72
    if narrow:
        below = 206 + height + 6
        canvas = widen(drawing, 304, below + 12 + 132 + PAD, left=PAD, top=206)
        steps_down(canvas, PAD, PAD)
        title(canvas, PAD, 198, PLAN)
        title(canvas, PAD, below, LAYER)
        layer(canvas, PAD, below + 12, 276)
    else:
        canvas = widen(drawing, 640, 84 + height, left=PAD, top=84)
        steps_across(canvas, PAD, PAD, 612)
        title(canvas, PAD, 76, PLAN)
        title(canvas, 358, 76, LAYER)
        layer(canvas, 358, 100, 268)
    return drawing


def widen(drawing: Drawing, width: float, height: float, *, left: float, top: float) -> Axes:
    """Puts a drawing onto a larger card; gives axes that cover it, in points from its upper left."""
    own_width, own_height = drawing.get_size_inches() * 72
    for axes in drawing.axes:
        box = axes.get_position(original=True)
        x, y = left + box.x0 * own_width, height - top - own_height * (1 - box.y0)
        axes.set_position(
            (x / width, y / height, box.width * own_width / width, box.height * own_height / height)
        )
    drawing.set_size_inches(width / 72, height / 72)
    canvas = drawing.add_axes((0, 0, 1, 1), zorder=-1)
    canvas.set(xlim=(0, width), ylim=(height, 0))
    canvas.axis("off")
    box = FancyBboxPatch((1, 1), width - 2, height - 2, "round,pad=0,rounding_size=8")
    box.set(facecolor=LIGHT["surface"], edgecolor=LIGHT["grid"])
    canvas.add_patch(box)
    return canvas


def title(canvas: Axes, x: float, y: float, text: str) -> None:
    canvas.text(x, y, text, va="center", weight="bold")


def box(
    canvas: Axes, x: float, y: float, width: float, height: float, *lines: str, colour: str = "ink"
) -> None:
    """A box with a line of text, and fainter lines below it."""
    patch = FancyBboxPatch((x, y), width, height, "round,pad=0,rounding_size=4")
    patch.set(facecolor="none", edgecolor=LIGHT[colour], linewidth=1)
    canvas.add_patch(patch)
    first = y + height / 2 - 5.5 * (len(lines) - 1)
    for number, line in enumerate(lines):
        style = {"color": LIGHT[colour], "weight": "bold"} if not number else {"size": SIZE - 1}
        canvas.text(x + width / 2, first + 11 * number, line, ha="center", va="center_baseline", **style)


def arrow(canvas: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    head = "-|>,head_length=3,head_width=1.6"
    style = {"color": LIGHT["faint"], "shrinkA": 0, "shrinkB": 0, "linewidth": 1}
    canvas.add_patch(FancyArrowPatch(start, end, arrowstyle=head, **style))


def steps_across(canvas: Axes, x: float, y: float, width: float) -> None:
    gap = 12.0
    own = (width + gap) / len(STEPS) - gap
    for number, lines in enumerate(STEPS):
        left = x + number * (own + gap)
        box(canvas, left, y, own, 36, *lines)
        if number:
            arrow(canvas, (left - gap + 1, y + 18), (left - 1, y + 18))


def steps_down(canvas: Axes, x: float, y: float) -> None:
    for number, (name, meaning) in enumerate(STEPS):
        top = y + number * 29
        box(canvas, x, top, 96, 18, name)
        canvas.text(x + 106, top + 9, meaning, va="center_baseline")
        if number:
            arrow(canvas, (x + 48, top - 10), (x + 48, top - 1))


def layer(canvas: Axes, x: float, y: float, width: float) -> None:
    """Tokens through attention and router to digital and analog experts, and their sum."""
    middle, right = y + 62, x + width
    box(canvas, x, y + 40, 56, 44, "attention", "digital", colour="digital")
    box(canvas, x + 70, y + 40, 42, 44, "router", "top-k")
    arrow(canvas, (x + 57, middle), (x + 69, middle))
    left, room = x + 128, width - 128 - 34
    box(canvas, left, y, room, 38, "digital experts", "exact products", colour="digital")
    box(canvas, left, y + 52, room, 80, "analog experts", "noisy products", colour="analog")
    canvas.texts[-2].set_y(y + 63)
    canvas.texts[-1].set_y(y + 74)
    crossbar(canvas, left + room / 2, y + 106, room)
    for at in (y + 19, y + 92):
        arrow(canvas, (x + 113, middle), (left - 1, at))
        arrow(canvas, (left + room + 1, at), (right - 20, middle))
    canvas.text(right - 10, middle, "+", ha="center", va="center", size=12)
    canvas.scatter([right - 10], [middle], s=230, facecolors="none", edgecolors=LIGHT["ink"], linewidths=1)


def crossbar(canvas: Axes, x: float, y: float, room: float) -> None:
    """An array of conductances between its converters: dots that are not as large as they should be."""
    random = np.random.default_rng(2)
    rows, columns, pitch = 4, 6, 7.0
    xs = x + pitch * (np.arange(columns) - (columns - 1) / 2)
    ys = y + pitch * (np.arange(rows) - (rows - 1) / 2)
    canvas.hlines(ys, xs[0] - 5, xs[-1] + 5, color=LIGHT["analog"], linewidth=0.6)
    canvas.vlines(xs, ys[0] - 5, ys[-1] + 5, color=LIGHT["analog"], linewidth=0.6)
    grid = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
    canvas.scatter(*grid.T, s=random.uniform(2, 20, len(grid)), color=LIGHT["analog"], linewidths=0)
    for side, name in ((-1, "DAC"), (1, "ADC")):
        canvas.text(x + side * room * 0.38, y, name, ha="center", va="center", size=SIZE - 1)


if __name__ == "__main__":
    main()
