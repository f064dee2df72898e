"""What the site makes of pages that are also read in the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hetc.base.schema import ALLOWED, read_schema

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)#]+)[^)]*\)")
"""A link from docs/ to a file of the repository that is no page."""
KEYS = re.compile(r"<!-- keys: (\w+) -->")
"""Where the keys of a file are to be listed."""
RANGES = ("const", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The start page is the README; keys are listed; files outside of docs/ are named, not linked."""
    if page.file.src_uri == "index.md":
        markdown = (ROOT / "README.md").read_text(encoding="utf-8")
        markdown = re.sub(r"\]\((?!docs/|https?:)([^)#]+)\)", r"](../\1)", markdown).replace("](docs/", "](")
    markdown = KEYS.sub(lambda found: key_table(read_schema(found[1])), markdown)
    return OUTSIDE.sub(r"\1 (`\2`)", markdown)


def key_table(schema: dict[str, Any]) -> str:
    """A schema's keys as a Markdown table: key, type, unit, what is allowed, meaning, default."""
    lines = ["| key | type | unit | allowed | what it says | default |", "|---|---|---|---|---|---|"]
    for key, required, entry in keys_of(schema, schema):
        name = f"**`{key}`**" if required else f"`{key}`"
        default = f"`{entry['default']}`" if "default" in entry else ""
        cells = (name, _type(entry, schema), entry.get("unit", ""), _allowed(entry), entry.get("title", ""), default)
        lines.append(f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines)


def keys_of(
    entry: dict[str, Any], schema: dict[str, Any], path: str = ""
) -> Iterator[tuple[str, bool, dict[str, Any]]]:
    """Every key below an entry of a schema: its path, whether it is required, and its own entry."""
    required = entry.get("required", ())
    for name, value in entry.get("properties", {}).items():
        merged = _merged(value, schema)
        yield path + name, name in required, merged
        yield from keys_of(merged, schema, f"{path}{name}.")
    for key, mark in (("items", "[]"), ("additionalProperties", "*")):
        below = entry.get(key)
        if isinstance(below, dict):
            yield from keys_of(_merged(below, schema), schema, f"{path.removesuffix('.')}{mark}." if mark == "[]" else f"{path}{mark}.")


def _merged(entry: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """An entry with what its reference says, too."""
    if "$ref" not in entry:
        return entry
    base = schema["$defs"][entry["$ref"].rsplit("/", 1)[1]]
    properties = {
        name: {**base.get("properties", {}).get(name, {}), **entry.get("properties", {}).get(name, {})}
        for name in (*base.get("properties", {}), *entry.get("properties", {}))
    }
    return {**base, **entry, **({"properties": properties} if properties else {})}


def _type(entry: dict[str, Any], schema: dict[str, Any]) -> str:
    kind = entry.get("type")
    if kind is None:
        values = entry.get("enum") or [entry.get("const", "")]
        kind = [_type(one, schema) for one in entry["anyOf"]] if "anyOf" in entry else type(values[0]).__name__
    if kind == "array" and isinstance(entry.get("items"), dict):
        return f"array of {_type(_merged(entry['items'], schema), schema)}"
    words = kind if isinstance(kind, list) else [kind]
    return " or ".join(dict.fromkeys({"str": "string", "int": "integer"}.get(word, word) for word in words))


def _allowed(entry: dict[str, Any]) -> str:
    """In the words of the messages that refuse a value."""
    if "description" in entry:
        return str(entry["description"])
    entry = {**entry.get("items", {}), **entry} if entry.get("type") == "array" else entry
    return ", ".join(ALLOWED[rule](entry[rule]) for rule in RANGES if rule in entry)
