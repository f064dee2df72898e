"""Hardware profiles: tile, converters and programming noise, read from TOML."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.reading import parse_toml, read_text
from hetc.base.schema import check_record
from hetc.hardware.noise_models import NOISE_MODELS, NoiseModel, known_noise_models

__all__ = ["DEFAULT_PROFILE", "Profile", "built_in_profiles", "load_profile"]

DEFAULT_PROFILE = "pcm-512"
BUILT_IN = resources.files("hetc.hardware") / "profiles"

SECTIONS: dict[str, dict[str, str]] = {
    "tile": {"rows": "tile_rows", "columns": "tile_columns"},
    "converters": {
        key: key
        for key in ("dac_bits", "adc_bits", "out_bound", "dac_rounding", "bound_management", "scale_mode")
    },
    "noise": {"scale": "noise_scale"},
    "drift": {"time": "drift_time", "compensation": "drift_compensation", "flicker_noise": "flicker_noise"},
    "product": {key: key for key in ("output_noise", "weight_noise", "weight_noise_form", "ir_drop")},
}
"""TOML section -> key -> attribute of `Profile`; `noise` has the keys of a noise model, too."""


@dataclass(frozen=True, repr=False)
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
        drift_time: Seconds between programming and use.
        drift_compensation: `none`, `global` (one factor per tile) or `column`; digital, acts after a drift.
        flicker_noise: Factor on the 1/f noise of a reading of the array, frozen per reading; 0 for none.
        output_noise: Noise of every product's output, over the normalised tile's full scale.
        weight_noise: Noise of every product that the weights make.
        weight_noise_form: `additive` (grows with the vector's norm) or `pcm-read` (and with the weights).
        ir_drop: Factor on the voltage drop along the columns; 0 for none.
        dac_rounding: `nearest` or `stochastic`.
        bound_management: `none`, or `iterative`: double the input range of a vector that clips at the ADC.
        scale_mode: Whether weights are scaled per `column` of a tile or per `tile`.
    """

    name: str = "custom"
    tile_rows: int = 512
    tile_columns: int = 512
    dac_bits: int = 8
    adc_bits: int = 8
    out_bound: float = 10.0
    noise: NoiseModel = field(default_factory=lambda: NOISE_MODELS["pcm"])
    noise_scale: float = 1.0
    drift_time: float = 0.0
    drift_compensation: str = "global"
    flicker_noise: float = 0.0
    output_noise: float = 0.0
    weight_noise: float = 0.0
    weight_noise_form: str = "additive"
    ir_drop: float = 0.0
    dac_rounding: str = "nearest"
    bound_management: str = "none"
    scale_mode: str = "column"

    def __post_init__(self) -> None:
        """Raises `InvalidInputError` for a value that no operator accepts."""
        where = f"profile {self.name!r}"
        check_record(self.to_table(), "profile", where)
        if self.noise.form != "none" and not self.noise.has_time(self.drift_time):
            raise InvalidInputError(
                f"{where}: drift.time is {self.drift_time}; it must be a time for which "
                f"{self.noise.name!r} is known: no drift is"
            )
        if self.flicker_noise and self.noise.form != "none" and not self.noise.flicker_deviation:
            raise InvalidInputError(
                f"{where}: drift.flicker_noise is {self.flicker_noise}; it must be 0: {self.noise.name!r} "
                "has no 1/f noise"
            )

    def __repr__(self) -> str:
        tile = f"tile {self.tile_rows} x {self.tile_columns}"
        return f"Profile({self.name!r}, {tile}, {self.noise.name} c = {self.noise_scale:g})"

    @property
    def disturbs(self) -> bool:
        """Whether products draw noise or lose voltage: what no programmed weight can stand for."""
        stochastic = self.dac_rounding == "stochastic"
        return stochastic or max(self.output_noise, self.weight_noise, self.ir_drop) > 0

    @property
    def noisy(self) -> bool:
        """Whether mode `noisy` differs from mode `converters`."""
        loud = self.noise_scale > 0 or self.drift_time > 0 or self.flicker_noise > 0
        return self.disturbs or (self.noise.form != "none" and loud)

    def with_noise(self, name: str | None, scale: float | None) -> Profile:
        """A copy with another noise model (by name) or scale; None keeps what the profile says.

        Raises:
            UsageError: The name is not a known model.
        """
        profile = self
        if name is not None:
            known = known_noise_models()
            if name not in known:
                raise UsageError(f"noise model {name!r} is not known; choose one of {', '.join(known)}")
            profile = replace(profile, noise=known[name])
        return profile if scale is None else replace(profile, noise_scale=scale)

    def tiles(self, inputs: int, outputs: int) -> int:
        """How many crossbar tiles a matrix of `inputs` x `outputs` takes."""
        return math.ceil(inputs / self.tile_rows) * math.ceil(outputs / self.tile_columns)

    @property
    def digest(self) -> str:
        """Sha256 of all that the profile says, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_table(self, *, in_full: bool = False) -> dict[str, Any]:
        """The profile as its TOML file says it; `in_full` with the numbers of a known noise model, too."""
        table: dict[str, Any] = {"name": self.name}
        for section, keys in SECTIONS.items():
            table[section] = {key: getattr(self, attribute) for key, attribute in keys.items()}
        table["noise"] = {**self.noise.to_table(in_full=in_full), **table["noise"]}
        return table

    def to_dict(self) -> dict[str, Any]:
        """The profile as plain data, for the plan."""
        data = asdict(self)
        data["noise"] = {
            key: list(value) if isinstance(value, tuple) else value for key, value in data["noise"].items()
        }
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        """The inverse of `to_dict`."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data["noise"].items()
        }
        return cls(**{**data, "noise": NoiseModel(**fields)})


def built_in_profiles() -> list[str]:
    """Names of the hardware profiles that come with hetc, for `compile` and `load_profile`.

    >>> import hetc
    >>> "pcm-512" in hetc.built_in_profiles()
    True
    """
    return sorted(entry.name[:-5] for entry in BUILT_IN.iterdir())


def load_profile(name_or_path: str | Path = DEFAULT_PROFILE) -> Profile:
    """Reads a built-in profile by name, or a TOML file by path.

        >>> import hetc
        >>> hetc.load_profile("pcm-512")
        Profile('pcm-512', tile 512 x 512, pcm c = 1)

    Args:
        name_or_path: The name, or the path.

    Raises:
        UsageError: Neither a built-in name nor a file.
        InvalidInputError: The TOML doesn't parse, has an unknown key, or a value out of range.
    """
    if str(name_or_path) in built_in_profiles():
        text = BUILT_IN.joinpath(f"{name_or_path}.toml").read_text("utf-8")
    else:
        try:
            text = read_text(Path(name_or_path), "profile")
        except UsageError as error:
            raise UsageError(
                f"profile {str(name_or_path)!r} is neither a file nor one of {', '.join(built_in_profiles())}"
            ) from error
    where = f"profile {name_or_path}"
    table = parse_toml(text, where)
    check_record(table, "profile", where)
    try:
        return _from_table(table)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error}") from error


def _from_table(table: dict[str, Any]) -> Profile:
    fields = {
        attribute: table[section][key]
        for section, keys in SECTIONS.items()
        for key, attribute in keys.items()
        if key in table.get(section, {})
    }
    noise = {key: value for key, value in table.get("noise", {}).items() if key != "scale"}
    if noise:
        fields["noise"] = NoiseModel.from_table(noise)
    return Profile(name=table["name"], **fields)
