"""How figures look: colours in two schemes, matplotlib's settings, and text that fits.

Figures are drawn in the light colours. Each has a name, and a page puts CSS variables of these names in their
place (`hetc.reporting.figure.page_svg`), so that one drawing follows the reader's colour scheme.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

__all__ = [
    "DARK",
    "LIGHT",
    "NAME_WIDTH",
    "RAMP",
    "SETTINGS",
    "SIZE",
    "look",
    "printable",
    "shortened",
    "text_width",
    "without_glyph_warnings",
    "wrapped",
]


def _ramp(name: str, colours: str) -> dict[str, str]:
    """Colours from faint to strong, by names that end in 0, 1, ..."""
    return {f"{name}{step}": colour for step, colour in enumerate(colours.split())}


LIGHT = {
    "surface": "#ffffff",
    "ink": "#1b1f24",
    "faint": "#5c6570",
    "grid": "#dfe3e8",
    "digital": "#0b66b0",
    "analog": "#b84c00",
    "green": "#00805c",
    "purple": "#a8407f",
    "brown": "#8a6500",
    "indigo": "#4a4fb5",
    "control": "#6b737d",
    **{
        f"digital{step}": each
        for step, each in enumerate(("#2595f1", "#0e7cd7", "#0b66b1", "#09528e", "#073e6b"))
    },
    **{
        f"analog{step}": each
        for step, each in enumerate(("#f06706", "#ca5705", "#a64804", "#863a03", "#652c03"))
    },
}
DARK = {
    "surface": "#15181c",
    "ink": "#e8ebee",
    "faint": "#a3acb6",
    "grid": "#333a42",
    "digital": "#5cb3f0",
    "analog": "#f39150",
    "green": "#3cc79b",
    "purple": "#e59bc8",
    "brown": "#e3bd4f",
    "indigo": "#a3a7f5",
    "control": "#a3acb6",
    **{
        f"digital{step}": each
        for step, each in enumerate(("#166aaf", "#1a82d6", "#449ee8", "#7cbbef", "#b5d8f6"))
    },
    **{
        f"analog{step}": each
        for step, each in enumerate(("#a74d0e", "#cc5f11", "#ed7824", "#f3a36a", "#f8cbac"))
    },
}
"""Blue and orange differ for the colour-blind, too; what colours say, sizes, shapes or labels say as well.

Text has a contrast of 4.5 to 1, marks have 3 to 1 at least (WCAG 2.1, AA); only grid lines have less.
"""

RAMP = 5
"""Steps from the faintest `digital0` to the strongest `digital4`."""

SERIES = ("digital", "analog", "green", "purple", "brown", "indigo")
MARKERS = ("o", "s", "^", "D", "v")
"""One less than colours, so that 30 series have looks of their own."""

SIZE = 8.0
"""Of text, in points: what journals ask for."""
NAME_WIDTH = 120.0
"""Names from models and files are cut at this width in points; the tables have them in full."""

SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": SIZE,
    "axes.prop_cycle": f"cycler('color', {[LIGHT[name] for name in SERIES]})",
    "axes.formatter.useoffset": False,
    "axes.titlesize": SIZE,
    "axes.labelsize": SIZE,
    "xtick.labelsize": SIZE - 1,
    "ytick.labelsize": SIZE - 1,
    "legend.fontsize": SIZE,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "errorbar.capsize": 2,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.2,
    "xtick.direction": "out",
    "grid.color": LIGHT["grid"],
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.edgecolor": LIGHT["faint"],
    "xtick.color": LIGHT["faint"],
    "ytick.color": LIGHT["faint"],
    "xtick.labelcolor": LIGHT["ink"],
    "ytick.labelcolor": LIGHT["ink"],
    "figure.facecolor": LIGHT["surface"],
    "axes.facecolor": LIGHT["surface"],
    "text.parse_math": False,  # names may hold dollars
    "pdf.fonttype": 42,  # embedded as TrueType: journals refuse type 3
    "svg.fonttype": "path",
    "savefig.dpi": 300,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
}


def look(number: int) -> tuple[str, str]:
    """Colour and marker of a series by its number."""
    return LIGHT[SERIES[number % len(SERIES)]], MARKERS[number % len(MARKERS)]


def printable(text: str) -> str:
    """The text with a mark in place of every character that no figure or page can show as one."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


@lru_cache(maxsize=4096)
def text_width(text: str, size: float = SIZE) -> float:
    """How wide a line of text is, in points."""
    font = FontProperties(family=SETTINGS["font.family"], size=size)
    with without_glyph_warnings():
        width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width)


@contextmanager
def without_glyph_warnings() -> Iterator[None]:
    """Names may be of any script; what the font doesn't have is drawn as a box."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def shortened(name: str, width: float = NAME_WIDTH) -> str:
    """A name as a label: printable, and with `…` for what is beyond the width."""
    text = printable(name)
    if text_width(text[: 2 * int(width)]) <= width and len(text) <= width:
        return text
    cuts = range(int(width))
    return f"{text[: bisect_right(cuts, width, key=lambda cut: text_width(f'{text[:cut]}…')) - 1]}…"


def wrapped(words: Iterable[str], width: float) -> str:
    """Words, none of them wider than the width, as lines that fit it."""
    lines = [""]
    for word in words:
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)
