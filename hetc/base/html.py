"""Tables as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

__all__ = ["html_table"]


def html_table(caption: str, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table whose texts are text: nothing of them is markup.

    Args:
        caption: What stands above it.
        columns: The heads.
        rows: The cells; None is an empty one, and numbers that aren't integers have six digits.
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<table><caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return escape(f"{cell:.6g}" if isinstance(cell, float) else str(cell))
