"""What programming, drift and a reading do to a device on average: moments of a programmed weight.

A weight's error depends on its target r = |w| / scale alone, so the moments are tables over r. Devices that
are cut off at their lowest conductance have the moments of the rectified normal distribution, drift exponents
those of the folded one. The rounding of the array's store is left out, and the cut-off of the 1/f noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetc.runtimes.reference.aging import curve
from hetc.runtimes.reference.arrays import library
from hetc.runtimes.reference.noise import sigma
from hetc.runtimes.reference.settings import Crossbar

__all__ = ["Moments", "moments", "moments_at"]

CELLS = 1 << 14
"""Cells of a table over r in [0, 1]."""
READINGS = np.linspace(-5, 5, 201)
"""Standard normals at which the 1/f noise, a curve of the programmed conductance, is averaged."""

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Tables over the target r = |w| / scale, ``[CELLS + 1]`` float32, in units of the scale.

    Attributes:
        bias: mean of the conductance now, less r.
        variance: variance of the conductance now.
        before, now: mean magnitude when it was programmed, and now: what a drift compensation sees.
    """

    bias: NDArray[np.float32]
    variance: NDArray[np.float32]
    before: NDArray[np.float32]
    now: NDArray[np.float32]

    def square(self, factor: float = 1.0) -> NDArray[np.float32]:
        """Table of the mean squared error of a weight that is multiplied by ``factor`` after it was read."""
        r = np.linspace(0, 1, CELLS + 1, dtype=np.float32)
        found: NDArray[np.float32] = factor**2 * self.variance + (factor * self.bias + (factor - 1) * r) ** 2
        return found

    @staticmethod
    def cells(weights: Any, scale: Any) -> Any:
        """Where in the tables weights lie, as integers of the shape of ``weights``.

        Args:
            weights: NumPy's or PyTorch's, float32.
            scale: above 0, of a shape that broadcasts.
        """
        xp = library(weights)
        places = abs(weights)
        places *= CELLS / scale
        places += 0.5
        return places.astype(np.intp) if xp is np else places.long()


@cache
def moments(crossbar: Crossbar) -> Moments:
    """The tables of a crossbar's devices, for its noise scale, drift time and 1/f noise."""
    found = moments_at(np.linspace(0, 1, CELLS + 1), crossbar)
    return Moments(*(values.astype(np.float32) for values in found))


def moments_at(r: Float64, crossbar: Crossbar) -> tuple[Float64, Float64, Float64, Float64]:
    """The fields of `Moments` for single targets r, each within 0..1."""
    zero = np.zeros_like(r)
    if not crossbar.programs:
        return zero, zero, r, r
    if crossbar.noise_form == "gaussian":
        bias, variance = zero, (crossbar.noise_scale * _deviation(r, crossbar)) ** 2
        before = now = _folded(r, np.sqrt(variance))
    else:
        programmed = [_device(target, crossbar, aged=False) for target in (r, zero)]
        aged = [_device(target, crossbar, aged=True) for target in (r, zero)]
        before, now = (
            _folded(plus[0] - minus[0], np.sqrt(plus[1] + minus[1])) for plus, minus in (programmed, aged)
        )
        bias = aged[0][0] - aged[1][0] - r
        variance = aged[0][1] + aged[1][1]
    off = r < crossbar.noise_floor
    return (
        np.where(off, -r, bias),
        np.where(off, 0, variance),
        np.where(off, 0, before),
        np.where(off, 0, now),
    )


def _deviation(r: Float64, crossbar: Crossbar) -> Float64:
    found: Float64 = sigma(r, crossbar.sigma, crossbar.noise_sigma_breaks)
    return found


def _device(target: Float64, crossbar: Crossbar, *, aged: bool) -> tuple[Float64, Float64]:
    """Mean and variance of one device of a pair, above its lowest conductance 0 (which is -offset of r)."""
    offset = crossbar.noise_offset
    deviation = np.maximum(crossbar.noise_scale * _deviation(target, crossbar), 1e-12)
    distance = (target + offset) / deviation
    density = np.exp(-distance * distance / 2) / math.sqrt(2 * math.pi)
    above = _below(distance)
    mean = deviation * (density + distance * above)
    square = deviation**2 * ((distance**2 + 1) * above + distance * density)
    flicker = np.zeros_like(target)
    if aged and crossbar.flicker_noise:
        flicker = _flicker(target, deviation, crossbar)
    if aged and crossbar.drifts:
        once, twice = (_decay(target, power, crossbar) for power in (1, 2))
        mean, square, flicker = mean * once, square * twice, flicker * twice
    return mean, np.maximum(square - mean**2, 0) + flicker


def _decay(target: Float64, power: int, crossbar: Crossbar) -> Float64:
    """Mean of ((t + t0) / t0)^(-power nu), nu the magnitude of a normal."""
    mean, spread = curve(target, crossbar.drift_mean), curve(target, crossbar.drift_deviation)
    spread = np.maximum(spread, 1e-9)
    t0 = crossbar.drift_reference
    rate = power * math.log((crossbar.drift_time + t0) / t0)
    common = np.exp(rate**2 * spread**2 / 2)
    found: Float64 = common * (
        np.exp(-rate * mean) * _below(mean / spread - rate * spread)
        + np.exp(rate * mean) * _below(-mean / spread - rate * spread)
    )
    return found


def _flicker(target: Float64, deviation: Float64, crossbar: Crossbar) -> Float64:
    """Mean of ((p + offset) relative(p))^2 over the programmed conductance p: the variance of a reading."""
    weights = np.exp(-(READINGS**2) / 2)
    weights /= weights.sum()
    read = crossbar.flicker_read_time
    elapsed = crossbar.drift_time + crossbar.drift_reference
    spread = crossbar.flicker_noise * math.sqrt(max(0.0, math.log((elapsed + read) / (2 * read))))
    total = np.zeros_like(target)
    for z, weight in zip(READINGS, weights, strict=True):
        programmed = np.maximum(target + deviation * z, -crossbar.noise_offset)
        relative = curve(programmed, crossbar.flicker_deviation) * spread
        total += weight * ((programmed + crossbar.noise_offset) * relative) ** 2
    return total


def _folded(mean: Float64, deviation: Float64) -> Float64:
    """Mean magnitude of a normal."""
    live = np.maximum(deviation, 1e-12)
    found: Float64 = live * math.sqrt(2 / math.pi) * np.exp(-((mean / live) ** 2) / 2) + mean * (
        1 - 2 * _below(-mean / live)
    )
    return found


def _below(z: Float64) -> Float64:
    """The standard normal distribution function."""
    found: Float64 = np.array([0.5 * math.erfc(-one / math.sqrt(2)) for one in z])
    return found
