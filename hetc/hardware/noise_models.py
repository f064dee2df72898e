"""Device models by name: forms, polynomials and curves that operators carry as attributes.

`sigma` gives the standard deviation of one device's programmed conductance over g_max as a polynomial of
r = target conductance / g_max, ascending powers; drift exponents and the 1/f noise of a reading are *curves*
of r (see `piece`). Formulas and sources are in docs/analog-models.md, what operators do in docs/operators.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.plugins import load_plugins

__all__ = [
    "CURVES",
    "G_MAX",
    "NOISE_FORMS",
    "NOISE_MODELS",
    "PIECE_LENGTH",
    "NoiseForm",
    "NoiseModel",
    "known_noise_models",
    "largest_conductance",
    "piece",
]

NoiseForm = Literal["none", "differential-pair", "gaussian"]
NOISE_FORMS: tuple[NoiseForm, ...] = get_args(NoiseForm)
"""How sigma acts: not at all, on both clamped devices of a pair, or on the signed weight."""

UNBOUNDED = 1e9
PIECE_KEYS = ("start", "low", "high", "logarithm", "power", "exponent")
PIECE_LENGTH = len(PIECE_KEYS) + 4
"""Numbers of one piece of a curve: these, and a cubic polynomial."""

CURVES = ("drift_mean", "drift_deviation", "flicker_deviation")
"""Fields of a model that are curves of r."""


def piece(
    polynomial: Sequence[float] = (),
    *,
    start: float = 0.0,
    low: float = -UNBOUNDED,
    high: float = UNBOUNDED,
    logarithm: float = 0.0,
    power: float = 0.0,
    exponent: float = 0.0,
) -> tuple[float, ...]:
    """One piece of a curve: ``clip(polynomial(r) + logarithm ln r + power r^exponent, low, high)``.

    Args:
        polynomial: At most 4 coefficients, ascending powers of r.
        start: The r from which on the piece holds; a curve's pieces are in ascending order.
        low, high: Limits of the value.
        logarithm, power, exponent: See above.
    """
    cubic = (*polynomial, *[0.0] * (4 - len(polynomial)))
    return (start, low, high, logarithm, power, exponent, *cubic)


@dataclass(frozen=True)
class NoiseModel:
    """A named device model.

    Attributes:
        name: The name that the command line and plans use.
        form: One of `NOISE_FORMS`.
        sigma: Polynomial of sigma / g_max in r, ascending powers; with breaks or times, several of one
            length, one after the other.
        source: Where the numbers come from.
        sigma_breaks: Values of r at which the next polynomial of `sigma` takes over.
        times: Seconds after programming for which `sigma` was measured, each with polynomials of its own;
            empty: sigma holds at programming.
        floor: Weights with r below it are programmed to exactly 0.
        offset: Conductance of a device at 0 (g_min), in units of g_max - g_min.
        drift_reference: t0 in s, the time of the first reading after programming.
        drift_mean: Curve of the mean drift exponent nu in r; empty where no drift is known.
        drift_deviation: Curve of the standard deviation of nu in r.
        flicker_deviation: Curve of the 1/f noise of a reading over the conductance; empty where unknown.
        flicker_read_time: Duration of a reading in s.
    """

    name: str
    form: NoiseForm
    sigma: tuple[float, ...]
    source: str
    sigma_breaks: tuple[float, ...] = ()
    times: tuple[float, ...] = ()
    floor: float = 0.0
    offset: float = 0.0
    drift_reference: float = 1.0
    drift_mean: tuple[float, ...] = ()
    drift_deviation: tuple[float, ...] = ()
    flicker_deviation: tuple[float, ...] = ()
    flicker_read_time: float = 1e-6

    def __post_init__(self) -> None:
        """Raises `InvalidInputError` for numbers that don't add up; the profile's schema has their ranges."""
        polynomials = (len(self.sigma_breaks) + 1) * max(1, len(self.times))
        self._require("sigma", len(self.sigma) % polynomials == 0, f"{polynomials} polynomials of one length")
        self._require("sigma", bool(self.sigma) or self.form == "none", "at least one coefficient")
        for key in ("sigma_breaks", "times"):
            self._require(key, _ascends(getattr(self, key)), "in ascending order")
        for key in CURVES:
            curve = getattr(self, key)
            self._require(key, len(curve) % PIECE_LENGTH == 0, f"pieces of {PIECE_LENGTH} numbers")
            self._require(key, _ascends(curve[::PIECE_LENGTH]), "pieces in ascending order of their start")

    def _require(self, key: str, holds: bool, allowed: str) -> None:
        if not holds:
            numbers = len(getattr(self, key))
            raise InvalidInputError(
                f"noise model {self.name!r}: {key} has {numbers} numbers; it must be {allowed}"
            )

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> NoiseModel:
        """The inverse of `to_table`.

        Args:
            table: A profile's section `noise` without its `scale`, as the schema has it.

        Raises:
            InvalidInputError: A name alone that isn't known, or numbers that don't add up.
        """
        name, fields = table["model"], {key: value for key, value in table.items() if key != "model"}
        if not fields:
            known = known_noise_models()
            if name not in known:
                raise InvalidInputError(
                    f"noise model {name!r} is not known; known are {', '.join(known)}, and others need a "
                    "form and a sigma polynomial"
                )
            return known[name]
        for key in CURVES:
            fields[key] = tuple(number for each in fields.get(key, ()) for number in piece(**each))
        for key in ("sigma", "sigma_breaks", "times"):
            fields[key] = tuple(map(float, fields.get(key, ())))
        return cls(**{"name": name, "source": "", **fields})

    def to_table(self, *, in_full: bool = False) -> dict[str, Any]:
        """What a profile's TOML says of the model: its name alone where that is known, unless `in_full`."""
        if not in_full and known_noise_models().get(self.name) == self:
            return {"model": self.name}
        fields = {
            key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()
        }
        for key in CURVES:
            numbers = fields[key]
            fields[key] = [
                _piece_table(numbers[start : start + PIECE_LENGTH])
                for start in range(0, len(numbers), PIECE_LENGTH)
            ]
        return {"model": fields.pop("name"), **fields}

    def has_time(self, seconds: float) -> bool:
        """Whether the model says what the weights are like so long after programming."""
        return seconds == 0 or bool(self.drift_mean) or seconds in self.times


def _piece_table(numbers: Sequence[float]) -> dict[str, Any]:
    """The arguments of `piece` that give these numbers, without those that are as by default."""
    default = dict(zip(PIECE_KEYS, piece(), strict=False))
    given = dict(zip(PIECE_KEYS, numbers, strict=False))
    polynomial = list(numbers[len(PIECE_KEYS) :])
    while polynomial and polynomial[-1] == 0:
        polynomial.pop()
    table: dict[str, Any] = {key: value for key, value in given.items() if value != default[key]}
    return {**table, "polynomial": polynomial} if polynomial else table


def _ascends(numbers: Sequence[float]) -> bool:
    return all(earlier < later for earlier, later in pairwise(numbers))


def _scaled(coefficients: Sequence[float], unit: float, argument: float = 1.0) -> tuple[float, ...]:
    """A polynomial of `argument` * r in units of `unit`."""
    return tuple(value * argument**power / unit for power, value in enumerate(coefficients))


def _hermes(
    name: str,
    g_max: float,
    reference: float,
    sigma: Sequence[float],
    deviation: tuple[float, ...],
    flicker: tuple[float, ...],
) -> NoiseModel:
    return NoiseModel(
        name,
        "differential-pair",
        _scaled(sigma, g_max),
        f"IBM HERMES 64-core chip, as aihwkit's HermesNoiseModel with g_max {g_max} uS",
        drift_reference=reference,
        drift_mean=piece((-0.0182,), low=0.072, high=0.13, logarithm=-0.0387)
        + piece((0.0736, -0.0126, -0.0436), start=0.0945),
        drift_deviation=deviation,
        flicker_deviation=flicker,
        flicker_read_time=512e-9,
    )


def _reram_cmo(name: str, intercept: float, slope: float, acceptance: str) -> NoiseModel:
    g_min, g_max = 9.0, 88.2
    window = g_max - g_min
    return NoiseModel(
        name,
        "differential-pair",
        ((intercept + slope * g_min) / window, slope),
        f"CMO/HfOx ReRAM, {g_min} to {g_max} uS, {acceptance} acceptance range, as aihwkit",
        offset=g_min / window,
    )


NOISE_MODELS: dict[str, NoiseModel] = {
    model.name: model
    for model in (
        NoiseModel("none", "none", (), "no programming noise"),
        NoiseModel(
            "pcm",
            "differential-pair",
            (0.26348 / 25, 1.9650 / 25, -1.1731 / 25),
            "Nandakumar 2019 / Joshi 2020, as aihwkit's PCMLikeNoiseModel with g_max 25 uS",
            drift_reference=20.0,
            drift_mean=piece((0.0244,), low=0.049, high=0.1, logarithm=-0.0155),
            drift_deviation=piece((-0.0059,), low=0.008, high=0.045, logarithm=-0.0125),
            flicker_deviation=piece(high=0.2, power=0.0088, exponent=-0.65),
            flicker_read_time=250e-9,
        ),
        NoiseModel("gaussian", "gaussian", (0.025,), "sigma 2.5 % of the column's largest weight"),
        NoiseModel("multiplicative", "gaussian", (0.0, 0.025), "sigma 2.5 % of the weight itself"),
        _hermes(
            "hermes",
            20.7,
            300.0,
            (0.16603222, 4.71806468, -8.48101252, 4.68961419),
            piece((-0.0057,), low=0.0091, high=0.04, logarithm=-0.0117)
            + piece((0.0073, 0.0093, -0.0118), start=0.3055),
            piece((-0.0069,), low=0.015, high=0.04, logarithm=-0.0117)
            + piece((0.0123, 0.0211, -0.0280, 0.0069), start=0.16),
        ),
        _hermes(
            "hermes_single",
            10.35,
            200.0,
            (0.15781817, 2.32443916, -2.16310839, 0.68841818),
            piece((-0.0023,), low=0.0124, high=0.04, logarithm=-0.0120)
            + piece((0.0104, 0.0116, -0.0165), start=0.3039),
            piece((0.0038,), low=0.0179, high=0.04, logarithm=-0.0078)
            + piece((0.0088, 0.0768, -0.1352, 0.0664), start=0.1591),
        ),
        NoiseModel(
            "afm",
            "gaussian",
            _scaled(
                (2.5797410660159494, 0.22419685954327148, -0.00371581208142707, 2.939751381126213e-05),
                180,
                180,
            )
            + _scaled(
                (2.110295720240385, 0.2453487119885723, -0.003054993405157235, 1.2329755395573392e-05),
                180,
                180,
            ),
            "Analog Foundation Models (arXiv 2505.09663), add_PCM_noise, in units of G_max = 180",
            sigma_breaks=(52.5 / 180,),
            floor=0.6 / 180,
        ),
        NoiseModel(
            "reram_wan2022",
            "differential-pair",
            _scaled((0.348, 16.030, -43.853, 45.393, -16.815), 25)
            + _scaled((0.701, 22.086, -50.773, 47.095, -16.458), 25)
            + _scaled((0.782, 20.274, -43.507, 37.062, -11.934), 25),
            "ReRAM of Wan et al. 2022 with g_max 25 uS, after 1 s, 1 day and 2 days, as aihwkit",
            times=(1.0, 86400.0, 172800.0),
        ),
        _reram_cmo("reram_cmo", 0.0112185391, 0.01129027418, "2 %"),
        _reram_cmo("reram_cmo_fine", 0.00081107, 0.00106879, "0.2 %"),
    )
}
"""The models that come with hetc; a profile may define others, and so may packages."""


G_MAX = {
    "pcm": 25.0,
    "hermes": 20.7,
    "hermes_single": 10.35,
    "reram_wan2022": 25.0,
    "reram_cmo": 88.2,
    "reram_cmo_fine": 88.2,
}
"""Microsiemens of the models that come with hetc (docs/analog-models.md)."""


def largest_conductance(model: NoiseModel, given: float | None) -> float:
    """g_max in uS: the given one, else that of a model which comes with hetc.

    Raises:
        UsageError: It isn't known, or not above 0.
    """
    g_max = G_MAX.get(model.name) if given is None else given
    if g_max is None or not 0 < g_max < math.inf:
        raise UsageError(
            f"the largest conductance of noise model {model.name!r} must be given, above 0 uS: --g-max"
        )
    return g_max


def known_noise_models() -> dict[str, NoiseModel]:
    """Every model by name: hetc's own, and those of the entry-point group `hetc.noise_models`.

    Raises:
        InvalidInputError: A package registers something that is no `NoiseModel` of that name.
    """
    foreign = load_plugins("hetc.noise_models")
    for name, model in foreign.items():
        if not isinstance(model, NoiseModel) or model.name != name:
            raise InvalidInputError(f"hetc.noise_models {name!r} is no NoiseModel of that name")
    return {**foreign, **NOISE_MODELS}
