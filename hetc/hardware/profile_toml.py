"""Profiles as TOML text, the inverse of `load_profile`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hetc.hardware.noise_models import PIECE_LENGTH, NoiseModel, known_noise_models
from hetc.hardware.profile import Profile

__all__ = ["to_toml"]

PIECE_KEYS = ("start", "low", "high", "logarithm", "power", "exponent")
SECTIONS: dict[str, dict[str, str | None]] = {
    "tile": {"rows": "tile_rows", "columns": "tile_columns"},
    "converters": dict.fromkeys(
        ("dac_bits", "adc_bits", "out_bound", "dac_rounding", "bound_management", "scale_mode")
    ),
    "drift": {"time": "drift_time", "compensation": "drift_compensation", "flicker_noise": None},
    "product": dict.fromkeys(("output_noise", "weight_noise", "weight_noise_form", "ir_drop")),
}
"""Section -> key -> attribute of `Profile`, where that has another name."""


def to_toml(profile: Profile) -> str:
    """The profile as TOML that `load_profile` reads back as an equal one."""
    tables: dict[str, Mapping[str, Any]] = {
        section: {key: getattr(profile, name or key) for key, name in keys.items()}
        for section, keys in SECTIONS.items()
    }
    tables["noise"] = {**_noise(profile.noise), "scale": profile.noise_scale}
    lines = [f"name = {json.dumps(profile.name)}"]
    for section, values in tables.items():
        lines += ["", f"[{section}]"]
        lines += [f"{key} = {_value(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _noise(model: NoiseModel) -> dict[str, Any]:
    if known_noise_models().get(model.name) == model:
        return {"model": model.name}
    fields = {key: value for key, value in vars(model).items() if key != "name"}
    for key in ("drift_mean", "drift_deviation", "flicker_deviation"):
        numbers = fields[key]
        pieces = [numbers[index : index + PIECE_LENGTH] for index in range(0, len(numbers), PIECE_LENGTH)]
        fields[key] = [
            {**dict(zip(PIECE_KEYS, each, strict=False)), "polynomial": each[len(PIECE_KEYS) :]}
            for each in pieces
        ]
    return {"model": model.name, **fields}


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)
