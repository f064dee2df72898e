"""Profiles as TOML text, the inverse of `load_profile`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hetc.hardware.profile import Profile

__all__ = ["to_toml"]


def to_toml(profile: Profile) -> str:
    """The profile as TOML that `load_profile` reads back as an equal one."""
    table = profile.to_table()
    lines = [f"name = {json.dumps(table.pop('name'))}"]
    for section, values in table.items():
        lines += ["", f"[{section}]"]
        lines += [f"{key} = {_value(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)
