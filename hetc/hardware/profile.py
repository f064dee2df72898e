"""Hardware profiles: tile, converters and programming noise, read from TOML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.toml import tomllib
from hetc.hardware.noise_models import NOISE_FORMS, NOISE_MODELS, NoiseModel, known_noise_models, piece

__all__ = ["DEFAULT_PROFILE", "Profile", "built_in_profiles", "load_profile"]

DEFAULT_PROFILE = "pcm-512"
BUILT_IN = resources.files("hetc.hardware") / "profiles"

AMOUNTS = ("noise_scale", "drift_time", "flicker_noise", "output_noise", "weight_noise", "ir_drop")
WORDS = {
    "drift_compensation": ("none", "global", "column"),
    "weight_noise_form": ("additive", "pcm-read"),
    "dac_rounding": ("nearest", "stochastic"),
    "bound_management": ("none", "iterative"),
    "scale_mode": ("column", "tile"),
}


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
        for key in ("tile_rows", "tile_columns"):
            self._require(key, getattr(self, key) >= 1, "at least 1")
        self._require(
            "dac_bits", self.dac_bits == 0 or 2 <= self.dac_bits <= 16, "0 (no converter) or 2 to 16"
        )
        self._require(
            "adc_bits", self.adc_bits == 0 or 2 <= self.adc_bits <= 24, "0 (no converter) or 2 to 24"
        )
        self._require("out_bound", 0 < self.out_bound < math.inf, "a positive number")
        for key in AMOUNTS:
            self._require(key, 0 <= getattr(self, key) < math.inf, "0 or a positive number")
        for key, words in WORDS.items():
            self._require(key, getattr(self, key) in words, f"one of {', '.join(words)}")
        known = self.noise.form == "none" or self.noise.has_time(self.drift_time)
        self._require("drift_time", known, f"a time for which {self.noise.name!r} is known: no drift is")
        flickers = self.flicker_noise == 0 or self.noise.form == "none" or self.noise.flicker_deviation
        self._require("flicker_noise", bool(flickers), f"0: {self.noise.name!r} has no 1/f noise")

    def __repr__(self) -> str:
        tile = f"tile {self.tile_rows} x {self.tile_columns}"
        return f"Profile({self.name!r}, {tile}, {self.noise.name} c = {self.noise_scale:g})"

    def _require(self, key: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise InvalidInputError(
                f"profile {self.name!r}: {key} is {getattr(self, key)}; it must be {allowed}"
            )

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
    """Names of the profiles that come with hetc."""
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
    sections = ("tile", "converters", "noise", "drift", "product")
    tile, converters, noise, drift, product = (table.pop(key, {}) for key in sections)
    fields = {"name": table.pop("name"), **converters, **product}
    fields.update({f"tile_{key}": value for key, value in tile.items()})
    fields.update({f"drift_{key}": value for key, value in drift.items() if key != "flicker_noise"})
    if "flicker_noise" in drift:
        fields["flicker_noise"] = drift["flicker_noise"]
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
        known = known_noise_models()
        if name not in known:
            raise ValueError(f"noise model {name!r} is not known; give it a form and a sigma polynomial")
        if len(table) > 1:
            raise ValueError(
                f"noise model {name!r} is built in; with {list(table)[1]!r} it needs a sigma, too"
            )
        model: NoiseModel = known[name]
        return model
    if table["form"] not in NOISE_FORMS:
        raise ValueError(f"noise form {table['form']!r} is not one of {', '.join(NOISE_FORMS)}")
    fields = {key: value for key, value in table.items() if key != "model"}
    for key in ("sigma", "sigma_breaks", "times"):
        fields[key] = tuple(map(float, fields.get(key, ())))
    for key in ("drift_mean", "drift_deviation", "flicker_deviation"):
        fields[key] = tuple(number for each in fields.get(key, ()) for number in piece(**each))
    pieces = (len(fields["sigma_breaks"]) + 1) * max(1, len(fields["times"]))
    if len(fields["sigma"]) % pieces:
        raise ValueError(f"sigma has {len(fields['sigma'])} coefficients for {pieces} polynomials")
    return NoiseModel(**{"name": name, "source": "", **fields})
