"""Checks data from outside against a JSON schema, and says in words what is wrong where."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import resources
from typing import Any

from hetc.base.errors import InvalidInputError

__all__ = ["SCHEMAS", "check_record", "read_schema", "shown"]

SCHEMAS = {
    "plan": "hetc.plan",
    "profile": "hetc.hardware",
    "costs": "hetc.costing",
    "scores": "hetc.plan",
    "calibration": "hetc.plan",
    "manifest": "hetc.bundle",
    "tune": "hetc.tuning",
    "results": "hetc.evaluation",
    "sweep": "hetc.evaluation",
}
"""Every schema by name, and the room whose folder holds it as `NAME.schema.json`."""

KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a table",
    "boolean": "true or false",
    "null": "nothing",
}

LONGEST = 60
"""Characters of a value that a message shows."""


def read_schema(name: str) -> dict[str, Any]:
    """The JSON schema of that name, as data."""
    text = resources.files(SCHEMAS[name]).joinpath(f"{name}.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def check_record(data: Any, name: str, where: str) -> None:
    """Checks data that came from outside.

        >>> check_record({"schema_version": 0}, "plan", "plan my.json")
        Traceback (most recent call last):
        ...
        hetc.base.errors.InvalidInputError: plan my.json: hetc is missing

    Args:
        data: What JSON or TOML said.
        name: Which of `SCHEMAS` it must fit.
        where: What the data is, such as `profile mine.toml`; begins the message.

    Raises:
        InvalidInputError: A key is missing or unknown, or a value is of another type, out of range or not
            finite; the message names key, value and what is allowed.
    """
    for key, number in _not_finite(data, ()):
        raise InvalidInputError(f"{where}: {_dotted(key)} is {number}; it must be a finite number")
    for error in _validator(name).iter_errors(data):
        raise InvalidInputError(f"{where}: {_sentence(_deepest(error))}")


@cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    # JSON schema takes 512.0 for an integer. An operator's attribute does not.
    types = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda checker, value: isinstance(value, int) and not isinstance(value, bool)
    )
    return extend(Draft202012Validator, type_checker=types)(read_schema(name))


def _not_finite(data: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], float]]:
    if isinstance(data, float) and not math.isfinite(data):
        yield path, data
    elif isinstance(data, (dict, list, tuple)):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _not_finite(value, (*path, key))


def _deepest(error: Any) -> Any:
    """Of alternatives that nothing describes, what is wrong with the one that fits best."""
    while error.context and "description" not in error.schema:
        error = max(error.context, key=lambda one: (len(one.path), one.validator not in ("type", "const")))
    return error


def _sentence(error: Any) -> str:
    path, given, rule = list(error.absolute_path), error.instance, error.validator_value
    if error.validator == "required":
        return f"{_dotted([*path, next(name for name in rule if name not in given)])} is missing"
    if error.validator == "dependentRequired":
        key, missing = next(
            (key, name) for key, names in rule.items() for name in names if key in given and name not in given
        )
        return f"{_dotted([*path, key])} needs {_dotted([*path, missing])}, too"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = next((name for name in given if name not in known), "")
        return f"unknown key {_dotted([*path, unknown])}; known are {', '.join(known)}"
    allowed = error.schema.get("description") or (
        error.validator in ALLOWED and ALLOWED[error.validator](rule)
    )
    return f"{_dotted(path)} " + (f"is {shown(given)}; it must be {allowed}" if allowed else error.message)


def _words(values: Iterable[Any]) -> str:
    return " or ".join(map(str, values))


ALLOWED: dict[str, Callable[[Any], str]] = {
    "type": lambda kinds: _words(KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds)),
    "enum": lambda values: f"one of {', '.join(map(str, values))}",
    "const": str,
    "minimum": lambda limit: f"at least {limit}",
    "maximum": lambda limit: f"at most {limit}",
    "exclusiveMinimum": lambda limit: f"more than {limit}",
    "exclusiveMaximum": lambda limit: f"less than {limit}",
    "minItems": lambda count: f"a list of at least {count}",
    "maxItems": lambda count: f"a list of at most {count}",
    "minLength": lambda count: f"text of {count} characters or more",
    "maxLength": lambda count: f"text of at most {count} characters",
    "uniqueItems": lambda unique: "a list without repetitions",
    "pattern": lambda pattern: f"of the form {pattern}",
}
"""What a rule of a schema allows, in words."""


def shown(value: Any) -> str:
    """A value as a message shows it: short, on one line, without control characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _dotted(path: Iterable[Any]) -> str:
    """A place in the data: `units[3].rank`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "the whole"
