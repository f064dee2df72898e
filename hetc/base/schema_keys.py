"""What a schema says of every key that a file may have: the one description of keys, for whoever shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hetc.base.schema import ALLOWED, KINDS, read_schema

__all__ = ["SchemaKey", "schema_keys"]


@dataclass(frozen=True)
class SchemaKey:
    """One key of a file.

    Attributes:
        path: Its name with those of the tables around it: `tile.rows`, `noise.drift_mean[].start`; a `*`
            stands for any name.
        kind: `number`, `integer`, `string`, `array`, `object`, ...; empty where the schema leaves it open.
        unit: What it counts in; empty for none.
        allowed: What values are allowed, in words.
        meaning: What it means, in words; empty where the schema doesn't say.
        required: Whether its table must have it.
        default: What it is taken for where it is left out; None where the schema doesn't say.
    """

    path: str
    kind: str
    unit: str
    allowed: str
    meaning: str
    required: bool = False
    default: Any = None

    @property
    def comment(self) -> str:
        """Meaning, unit and what is allowed, as sentences: what stands above a key of a written file."""
        meaning = f"{self.meaning} [{self.unit}]" if self.unit else self.meaning
        return " ".join(f"{text[0].upper()}{text[1:]}." for text in (meaning, self.allowed) if text)


def schema_keys(name: str) -> dict[str, SchemaKey]:
    """The keys of a schema by path, tables before what is in them, in the schema's order.

        >>> key = schema_keys("profile")["tile.rows"]
        >>> key.meaning, key.allowed
        ('inputs of a tile', 'a whole number from 1 to 1048576')

    Args:
        name: Which of `hetc.base.schema.SCHEMAS`.
    """
    schema = read_schema(name)
    return {key.path: key for key in _keys(schema, schema, "")}


def _keys(schema: Mapping[str, Any], table: Mapping[str, Any], path: str) -> Iterator[SchemaKey]:
    required = table.get("required", ())
    for name, given in table.get("properties", {}).items():
        rules = _resolved(schema, given)
        where = f"{path}{name}"
        yield SchemaKey(
            where,
            _kind(rules),
            rules.get("unit", ""),
            _allowed(schema, rules),
            rules.get("title", ""),
            name in required,
            rules.get("default"),
        )
        yield from _keys(schema, rules, f"{where}.")
        yield from _keys(schema, _resolved(schema, rules.get("items", {})), f"{where}[].")
        if isinstance(rules.get("additionalProperties"), dict):
            yield from _keys(schema, _resolved(schema, rules["additionalProperties"]), f"{where}.*.")


def _resolved(schema: Mapping[str, Any], rules: Mapping[str, Any]) -> dict[str, Any]:
    """The rules of a key, with those that it takes from the schema's definitions."""
    if "$ref" not in rules:
        return dict(rules)
    definition = _resolved(schema, schema["$defs"][rules["$ref"].rsplit("/", 1)[-1]])
    inner, own = definition.get("properties", {}), rules.get("properties", {})
    merged = {name: {**inner.get(name, {}), **own.get(name, {})} for name in (*inner, *own)}
    return {**definition, **rules, **({"properties": merged} if merged else {})}


def _kind(rules: Mapping[str, Any]) -> str:
    words = rules.get("enum") or [rules["const"]] if "enum" in rules or "const" in rules else ()
    kind = rules.get("type", "string" if words and isinstance(words[0], str) else "integer" if words else "")
    if not kind and "anyOf" in rules:
        kind = next((one["type"] for one in rules["anyOf"] if "type" in one), "")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _allowed(schema: Mapping[str, Any], rules: Mapping[str, Any]) -> str:
    if "description" in rules:
        return str(rules["description"])
    if "items" in rules:
        items = _resolved(schema, rules["items"])
        each = items.get("description") or KINDS.get(items.get("type", ""), "")
        return "a list" + (f", each {each}" if each else "")
    return next((ALLOWED[rule](rules[rule]) for rule in ("enum", "const", "type") if rule in rules), "")
