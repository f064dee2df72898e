"""What the site makes of pages that are also read in the repository."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hetc.base.schema_keys import schema_keys

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)#]+)[^)]*\)")
"""A link from docs/ to a file of the repository that is no page."""
KEYS = re.compile(r"<!-- keys: (\w+) -->")
"""Where the keys of a file are to be listed."""


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The start page is the README; keys are listed; files outside of docs/ are named, not linked."""
    if page.file.src_uri == "index.md":
        markdown = (ROOT / "README.md").read_text(encoding="utf-8")
        markdown = re.sub(r"\]\((?!docs/|https?:)([^)#]+)\)", r"](../\1)", markdown).replace("](docs/", "](")
        markdown = re.sub(r'\b(src|srcset)="docs/', r'\1="', markdown)
    markdown = KEYS.sub(lambda found: key_table(found[1]), markdown)
    return OUTSIDE.sub(r"\1 (`\2`)", markdown)


def key_table(name: str) -> str:
    """The keys of a schema as a Markdown table."""
    lines = ["| key | type | unit | allowed | what it says | default |", "|---|---|---|---|---|---|"]
    for key in schema_keys(name).values():
        path = f"**`{key.path}`**" if key.required else f"`{key.path}`"
        default = "" if key.default is None else f"`{json.dumps(key.default)}`"
        cells = (path, key.kind, key.unit, key.allowed, key.meaning, default)
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines)
