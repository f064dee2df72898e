"""The attributes of the analog operators that enter their arithmetic, as one value."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from hetc.base.errors import InvalidInputError
from hetc.hardware.profile import Profile
from hetc.operators.words import Mode, Store

__all__ = ["Crossbar", "crossbar_of"]

NOISE_FIELDS = ("form", "sigma", "sigma_breaks", "times", "floor", "offset")
AGING_FIELDS = ("drift_reference", "drift_mean", "drift_deviation", "flicker_deviation", "flicker_read_time")


@dataclass(frozen=True)
class Crossbar:
    """What `docs/operators.md` keeps in attributes and session configuration, under the same names."""

    mode: Mode
    tile_rows: int = 512
    tile_columns: int = 512
    dac_bits: int = 8
    adc_bits: int = 8
    out_bound: float = 10.0
    noise_form: str = "none"
    noise_sigma: tuple[float, ...] = ()
    noise_sigma_breaks: tuple[float, ...] = ()
    noise_times: tuple[float, ...] = ()
    noise_floor: float = 0.0
    noise_offset: float = 0.0
    noise_scale: float = 1.0
    drift_time: float = 0.0
    drift_reference: float = 1.0
    drift_mean: tuple[float, ...] = ()
    drift_deviation: tuple[float, ...] = ()
    drift_compensation: str = "none"
    flicker_noise: float = 0.0
    flicker_deviation: tuple[float, ...] = ()
    flicker_read_time: float = 1e-6
    output_noise: float = 0.0
    weight_noise: float = 0.0
    weight_noise_form: str = "additive"
    ir_drop: float = 0.0
    dac_rounding: str = "nearest"
    bound_management: str = "none"
    scale_mode: str = "column"
    seed: int = 0
    read_seed: int = 0
    store: Store = "bfloat16"

    def __post_init__(self) -> None:
        """Raises `InvalidInputError` for a drift time or a 1/f noise that the device model doesn't know."""
        if self.mode != "noisy" or self.noise_form == "none":
            return
        known = bool(self.drift_mean) or self.drift_time in self.noise_times
        if self.drift_time > 0 and not known:
            raise InvalidInputError(f"no drift is known for drift_time {self.drift_time} s")
        if self.flicker_noise > 0 and not self.flicker_deviation:
            raise InvalidInputError("flicker_noise is above 0, but the device has no flicker_deviation")

    @property
    def drifts(self) -> bool:
        """Whether conductances have drifted since they were programmed."""
        return self.drift_time > 0 and bool(self.drift_mean)

    @property
    def programs(self) -> bool:
        """Whether the weights on the crossbars differ from the clean ones."""
        loud = self.noise_scale != 0 or self.drifts or self.flicker_noise > 0
        return self.mode == "noisy" and self.noise_form != "none" and loud

    @property
    def disturbs(self) -> bool:
        """Whether products draw noise or lose voltage: what no programmed weight can stand for."""
        stochastic = self.dac_bits > 0 and self.dac_rounding == "stochastic"
        loud = stochastic or max(self.output_noise, self.weight_noise, self.ir_drop) > 0
        return self.mode == "noisy" and loud

    @property
    def sigma(self) -> tuple[float, ...]:
        """The part of noise_sigma that holds at drift_time."""
        if not self.noise_times:
            return self.noise_sigma
        length = len(self.noise_sigma) // len(self.noise_times)
        start = length * (self.noise_times.index(self.drift_time) if self.drift_time > 0 else 0)
        return self.noise_sigma[start : start + length]


def crossbar_of(profile: Profile, mode: Mode, **choices: Any) -> Crossbar:
    """The settings of a profile; `choices` are fields that it doesn't have: seed, read_seed, store."""
    shared = {field.name for field in fields(Crossbar)} & {field.name for field in fields(Profile)}
    return Crossbar(
        mode,
        **{name: getattr(profile, name) for name in shared},
        **{f"noise_{name}": getattr(profile.noise, name) for name in NOISE_FIELDS},
        **{name: getattr(profile.noise, name) for name in AGING_FIELDS},
        **choices,
    )
