"""Code in Markdown pages: what is in their blocks, and the commands in blocks and sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

__all__ = ["Block", "code_blocks", "hetc_commands"]


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        heading: The heading that it stands under.
        language: What its fence says; an indented block is `sh`.
        text: The code.
    """

    heading: str
    language: str
    text: str


def code_blocks(page: Path) -> list[Block]:
    """A page's blocks of code, in their order."""
    heading, blocks = "", []
    tokens = MarkdownIt().parse(page.read_text("utf-8"))
    for before, token in zip([None, *tokens], tokens, strict=False):
        if before is not None and before.type == "heading_open":
            heading = token.content
        elif token.type in ("fence", "code_block"):
            blocks.append(Block(heading, token.info.strip() or _unnamed(token.type), token.content))
    return blocks


def _unnamed(kind: str) -> str:
    return "sh" if kind == "code_block" else ""


def hetc_commands(page: Path) -> Iterator[str]:
    """Every command line of a page that begins with `hetc`, out of blocks and out of sentences."""
    for block in code_blocks(page):
        for line in re.sub(r"\\\n\s*", "", block.text).splitlines():
            if line.strip().startswith("hetc "):
                yield line.strip()
    for token in MarkdownIt().enable("table").parse(page.read_text("utf-8")):
        for part in token.children or ():
            if part.type == "code_inline" and re.match("hetc [a-z-]", part.content):
                yield part.content
