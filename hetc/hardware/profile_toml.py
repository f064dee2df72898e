"""Profiles as TOML text, the inverse of `load_profile`; with comments, for whoever is to change them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hetc.base.schema_keys import SchemaKey, schema_keys
from hetc.hardware.noise_models import CURVES, NoiseModel
from hetc.hardware.profile import Profile

__all__ = ["commented_toml", "noise_toml", "to_toml"]

WIDTH = 100


def to_toml(profile: Profile, *, in_full: bool = False) -> str:
    """The profile as TOML that `load_profile` reads back as an equal one.

    Args:
        profile: The profile.
        in_full: Write the numbers of a noise model that is known by its name, too.
    """
    return "\n".join(_lines(profile.to_table(in_full=in_full), {})) + "\n"


def commented_toml(profile: Profile) -> str:
    """The same in full, with what the profile's schema says of each key above it."""
    return "\n".join(_lines(profile.to_table(in_full=True), schema_keys("profile"))) + "\n"


def noise_toml(model: NoiseModel) -> str:
    """A noise model as the section `noise` of a profile, in full."""
    return "\n".join(_lines({"noise": model.to_table(in_full=True)}, {})[1:]) + "\n"


def _lines(table: Mapping[str, Any], described: Mapping[str, SchemaKey]) -> list[str]:
    """Lines of TOML, each key below its comment where it is described."""
    lines: list[str] = []
    for key, value in table.items():
        if not isinstance(value, Mapping):
            lines += [*_comment(described, key), f"{key} = {_value(value)}"]
            continue
        lines += ["", *_comment(described, key), f"[{key}]"]
        for name, one in value.items():
            path = f"{key}.{name}"
            lines += [*_comment(described, path), f"{name} = {_value(one)}"]
    return lines


def _comment(described: Mapping[str, SchemaKey], path: str) -> Iterator[str]:
    if path not in described:
        return
    key = described[path]
    yield from _wrapped(replace(key, allowed="").comment if key.kind == "object" else key.comment)
    if path == f"noise.{CURVES[0]}":  # how a curve is written, once, above the first
        pieces = [one for one in described if one.startswith(f"{path}[].")]
        yield from _wrapped(
            "A curve over r is a list of pieces, each a table. All of its keys may be left out:"
        )
        for piece in pieces:
            yield from _wrapped(f"  {piece.rsplit('.', 1)[-1]}: {described[piece].comment}")


def _wrapped(text: str) -> Iterator[str]:
    yield from textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="#   ")


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)
