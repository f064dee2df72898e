"""Tables as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

__all__ = ["html_table"]


def html_table(caption: str, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table whose texts are text: nothing of them is markup. Columns with texts begin at the left.

    Args:
        caption: What stands above it.
        columns: The heads.
        rows: The cells; None is an empty one, and numbers that aren't integers have six digits.
    """
    cells = [list(row) for row in rows]
    texts = [any(isinstance(row[number], str) for row in cells) for number in range(len(columns))]
    # Notebooks would have all at the right.
    styles = [' style="text-align: left"' * text for text in texts]

    def line(tag: str, row: Sequence[Any]) -> str:
        shown = zip(styles, map(_text, row), strict=True)
        return f"<tr>{''.join(f'<{tag}{style}>{text}</{tag}>' for style, text in shown)}</tr>"

    head, body = line("th", columns), "".join(line("td", row) for row in cells)
    caption = f'<caption style="text-align: left">{escape(caption)}</caption>'
    return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return escape(f"{cell:.6g}" if isinstance(cell, float) else str(cell))
