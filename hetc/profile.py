"""Hardware profiles: tile, converters and programming noise, read from TOML."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from hetc.errors import InvalidInputError, UsageError
from hetc.noise_models import NOISE_FORMS, NOISE_MODELS, NoiseModel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["DEFAULT_PROFILE", "Profile", "built_in_profiles", "load_profile"]

DEFAULT_PROFILE = "pcm-512"


@dataclass(frozen=True)
class Profile:
    """What the analog hardware is like.

    Attributes:
        name: The profile's name.
        tile_rows: Largest number of inputs of one crossbar tile.
        tile_columns: Largest number of outputs of one crossbar tile.
        dac_bits: Resolution of the input converters; 0 for none.
        adc_bits: Resolution of the output converters; 0 for none.
        out_bound: ADC bound in units of input range x weight scale.
        noise: The programming-noise model.
        noise_scale: Factor c on the programming noise.
    """

    name: str = "custom"
    tile_rows: int = 512
    tile_columns: int = 512
    dac_bits: int = 8
    adc_bits: int = 8
    out_bound: float = 10.0
    noise: NoiseModel = field(default_factory=lambda: NOISE_MODELS["pcm"])
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        """Raises `InvalidInputError` for a value that no operator accepts."""
        for key in ("tile_rows", "tile_columns"):
            self._require(key, getattr(self, key) >= 1, "at least 1")
        self._require(
            "dac_bits", self.dac_bits == 0 or 2 <= self.dac_bits <= 16, "0 (no converter) or 2 to 16"
        )
        self._require(
            "adc_bits", self.adc_bits == 0 or 2 <= self.adc_bits <= 24, "0 (no converter) or 2 to 24"
        )
        self._require("out_bound", 0 < self.out_bound < math.inf, "a positive number")
        self._require("noise_scale", 0 <= self.noise_scale < math.inf, "0 or a positive number")

    def _require(self, key: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise InvalidInputError(
                f"profile {self.name!r}: {key} is {getattr(self, key)}; it must be {allowed}"
            )

    def with_noise(self, name: str | None, scale: float | None) -> Profile:
        """A copy with another noise model (by name) or scale; None keeps what the profile says.

        Raises:
            UsageError: The name is not a known model.
        """
        profile = self
        if name is not None:
            if name not in NOISE_MODELS:
                raise UsageError(
                    f"noise model {name!r} is not known; choose one of {', '.join(NOISE_MODELS)}"
                )
            profile = replace(profile, noise=NOISE_MODELS[name])
        return profile if scale is None else replace(profile, noise_scale=scale)

    def tiles(self, inputs: int, outputs: int) -> int:
        """How many crossbar tiles a matrix of `inputs` x `outputs` takes."""
        return math.ceil(inputs / self.tile_rows) * math.ceil(outputs / self.tile_columns)

    def to_dict(self) -> dict[str, Any]:
        """The profile as plain data, for the plan."""
        data = asdict(self)
        data["noise"]["sigma"] = list(self.noise.sigma)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        """The inverse of `to_dict`."""
        noise = NoiseModel(**{**data["noise"], "sigma": tuple(data["noise"]["sigma"])})
        return cls(**{**data, "noise": noise})


def built_in_profiles() -> list[str]:
    """Names of the profiles that come with hetc."""
    return sorted(entry.name[:-5] for entry in resources.files("hetc").joinpath("profiles").iterdir())


def load_profile(name_or_path: str | Path = DEFAULT_PROFILE) -> Profile:
    """Reads a built-in profile by name, or a TOML file by path.

    Raises:
        UsageError: Neither a built-in name nor a file.
        InvalidInputError: The TOML doesn't parse, has an unknown key, or a value out of range.
    """
    if str(name_or_path) in built_in_profiles():
        text = resources.files("hetc").joinpath("profiles", f"{name_or_path}.toml").read_text("utf-8")
    else:
        try:
            text = Path(name_or_path).read_text("utf-8")
        except OSError as error:
            raise UsageError(
                f"profile {str(name_or_path)!r} is neither a file nor one of {', '.join(built_in_profiles())}"
            ) from error
    try:
        return _parse(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"profile {str(name_or_path)!r}: {error}") from error


def _parse(table: dict[str, Any]) -> Profile:
    tile, converters, noise = (table.pop(key, {}) for key in ("tile", "converters", "noise"))
    fields = {"name": table.pop("name"), **converters}
    fields.update({f"tile_{key}": value for key, value in tile.items()})
    if table:
        raise ValueError(f"unknown key {next(iter(table))!r}")
    if "scale" in noise:
        fields["noise_scale"] = noise.pop("scale")
    if noise:
        fields["noise"] = _parse_noise(noise)
    return Profile(**fields)


def _parse_noise(table: dict[str, Any]) -> NoiseModel:
    name = table["model"]
    if "sigma" not in table:
        if name not in NOISE_MODELS:
            raise ValueError(f"noise model {name!r} is not known; give it a form and a sigma polynomial")
        return NOISE_MODELS[name]
    if table["form"] not in NOISE_FORMS:
        raise ValueError(f"noise form {table['form']!r} is not one of {', '.join(NOISE_FORMS)}")
    return NoiseModel(name, table["form"], tuple(map(float, table["sigma"])), table.get("source", ""))
