"""What a profile comes to, as numbers over r = target / g_max: noise, drift, and what converters do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hetc.hardware.profile import Profile
from hetc.runtimes.reference.moments import moments_at
from hetc.runtimes.reference.noise import sigma
from hetc.runtimes.reference.settings import crossbar_of

__all__ = ["DeviceCurves", "convert", "device_curves", "duration"]

TIMES = (0.0, 60.0, 3600.0, 86400.0, 30 * 86400.0, 365 * 86400.0)
"""Seconds since programming at which a drift is shown: now, a minute, an hour, a day, a month, a year."""

DURATIONS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class DeviceCurves:
    """Curves of one profile; all in units of g_max - g_min, a weight's in units of its scale.

    Attributes:
        profile: The profile.
        r: ``[n]`` targets.
        sigma: ``[n]`` standard deviation of one device right after programming, c included.
        times: Seconds since programming that the noise model knows, among them the profile's.
        mean: ``[times, n]`` mean of a programmed weight of size r, as drifted, not compensated.
        deviation: ``[times, n]`` its standard deviation, 1/f noise included.
    """

    profile: Profile
    r: Float64
    sigma: Float64
    times: tuple[float, ...]
    mean: Float64
    deviation: Float64


def device_curves(profile: Profile, r: Float64) -> DeviceCurves:
    """Calculates the curves at the targets ``r``, each within 0..1."""
    known = profile.noise.times or (TIMES if profile.noise.drift_mean else ())
    times = tuple(sorted({0.0, profile.drift_time, *known}))
    crossbar = crossbar_of(profile, "noisy")
    mean, deviation = [], []
    for time in times:
        bias, variance, _, _ = moments_at(r, replace(crossbar, drift_time=time))
        mean.append(r + bias)
        deviation.append(np.sqrt(variance))
    fresh = replace(crossbar, drift_time=0.0)
    device = profile.noise_scale * sigma(r, fresh.sigma, fresh.noise_sigma_breaks)
    return DeviceCurves(profile, r, device, times, np.array(mean), np.array(deviation))


def convert(values: Float64, bits: int) -> Float64:
    """What a converter of so many bits makes of values in units of its full scale; 0 bits: no converter."""
    if bits == 0:
        return values
    levels = 2 ** (bits - 1) - 1
    return np.asarray(np.rint(np.clip(values, -1, 1) * levels) / levels)


def duration(seconds: float) -> str:
    """`duration(7200)` is `2 h`; below a minute in seconds."""
    for length, name in DURATIONS:
        if seconds >= length:
            return f"{seconds / length:.3g} {name}"
    return f"{seconds:.3g} s"
