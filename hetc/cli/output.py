"""How commands print: results on stdout, as tables or as JSON; everything else on stderr.

Names come from models, plans and files that others made. On a terminal they are text and nothing else: no
control sequences, no markup, no emoji.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "VOLUME",
    "as_lines",
    "as_text",
    "as_written",
    "counted",
    "is_quiet",
    "new_console",
    "print_json",
    "say",
]

SCHEMA_VERSION = 1
"""Of what --json prints: docs/command-line.md lists the keys. Keys may be added, none changes its meaning."""

VOLUME = "hetc.cli.volume"
"""Where click's context keeps `verbose` or `quiet`."""

LONGEST = 1000
"""Characters of a name that a message shows."""


def print_json(data: Mapping[str, Any]) -> None:
    """Writes a command's result to stdout, with the version of its keys; a plan has a version of its own."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **data}, indent=2, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def say(text: str) -> None:
    """Tells people on stderr what was done and what to type next; nobody under -q."""
    if not is_quiet():
        click.echo(text, err=True)


def is_quiet() -> bool:
    """Whether the command runs under -q."""
    context = click.get_current_context(silent=True)
    return context is not None and context.meta.get(VOLUME) == "quiet"


def as_text(name: object) -> str:
    """A name as a terminal may see it: what is no printable character is spelled out.

    >>> print(as_text("layers.0\x1b[2J\n"))
    layers.0\\x1b[2J\\n
    """
    text = str(name)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def as_written(path: Path) -> str:
    """A path, or a place on the hub, of which `Path` makes `hf:/OWNER/NAME`, as it was written."""
    from hetc.model.hub import as_hub_id, is_hub_id

    return as_text(as_hub_id(path) if is_hub_id(path) else path)


def as_lines(message: object) -> str:
    """The same for a text of several lines, with tabs; names without end are cut."""
    text = "\n".join("\t".join(map(as_text, line.split("\t"))) for line in str(message).split("\n"))
    return re.sub(rf"(\S{{{LONGEST}}})\S+", r"\1...", text)


def counted(number: int, noun: str) -> str:
    """`counted(1, "tile")` is `1 tile`, `counted(1024, "tile")` is `1,024 tiles`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def new_console(*, stderr: bool = False) -> Console:
    """A console that prints all strings as text; plain and wide when not a terminal."""
    from rich.console import Console
    from rich.text import Text

    class TextConsole(Console):
        """Every string that rich renders, in tables too, comes through here."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(as_text(text), **options)

    console = TextConsole(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 200
    return console
