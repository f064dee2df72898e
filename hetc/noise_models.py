"""Programming-noise models by name: the form and the polynomial that operators carry as attributes.

A polynomial gives the standard deviation of one device's programmed conductance over g_max, in ascending
powers of r = target conductance / g_max. Formulas and sources are in docs/analog-models.md.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NOISE_FORMS", "NOISE_MODELS", "NoiseModel"]

NOISE_FORMS = ("none", "differential-pair", "gaussian")
"""How sigma acts: not at all, on both clamped devices of a pair, or on the signed weight."""


@dataclass(frozen=True)
class NoiseModel:
    """A named programming-noise model.

    Attributes:
        name: The name that the command line and plans use.
        form: One of `NOISE_FORMS`.
        sigma: Polynomial of sigma / g_max in r, ascending powers.
        source: Where the numbers come from.
    """

    name: str
    form: str
    sigma: tuple[float, ...]
    source: str


NOISE_MODELS: dict[str, NoiseModel] = {
    model.name: model
    for model in (
        NoiseModel("none", "none", (), "no programming noise"),
        NoiseModel(
            "pcm",
            "differential-pair",
            (0.26348 / 25, 1.9650 / 25, -1.1731 / 25),
            "Nandakumar 2019 / Joshi 2020, as aihwkit's PCMLikeNoiseModel with g_max 25 uS",
        ),
        NoiseModel("gaussian", "gaussian", (0.025,), "sigma 2.5 % of the column's largest weight"),
    )
}
"""The models that come with hetc; a profile may define others."""
