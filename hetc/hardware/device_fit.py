"""Fits a noise model to measured conductances, and says how well.

Programming. A device that was programmed to r is read as r + sigma(r) z, z a standard normal, but never below
0 conductance. The mean of |z| is sqrt(2 / pi), so that sigma is the mean of sqrt(pi / 2) |read - r|: linear
in the coefficients of its polynomial, which weighted least squares then gives, with the weights 1 / sigma of
the last round. What a reading of 0 conductance hides is replaced by its mean (EM, Dempster et al. 1977).

Drift. A device decays by ((t + t0) / t0)^-nu, nu a normal. Its first two moments over all devices of about
one target,

    E x(t) = E x(0) exp(-m L + s^2 L^2 / 2)
    1 + var x(t) / E^2 x(t) = (1 + var x(0) / E^2 x(0)) exp(s^2 L^2)

with L = ln((t + t0) / t0), give mean m and deviation s of nu: it need not be known which device is which.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.polynomial import polyvander
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError, UsageError
from hetc.hardware.measurements import Measurements
from hetc.hardware.noise_models import NoiseForm, NoiseModel, piece

__all__ = ["DeviceFit", "DriftLevel", "Level", "fit_device"]

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

ROUNDS = 100
LEVELS, FEW_TARGETS = 8, 16
"""Levels that many different targets are sorted into; so few targets are levels of their own."""
LEAST_TARGET = 0.1
"""Devices below this share of g_max say little of drift: their noise is as large as they are."""
SAME_TIME = 1.5
"""Readings within this factor of time are of one time."""
ENOUGH = 100
"""Points that a coefficient should have: a standard deviation from n points errs by 1 / sqrt(2 n)."""
SMALLEST = 1e-9


@dataclass(frozen=True)
class Level:
    """Devices of about one target, right after programming; in units of g_max - g_min.

    Attributes:
        r: Their mean target.
        points: How many they are.
        bias: Mean of what was read, less the target.
        measured: Their standard deviation about the target.
        fitted: What the polynomial says of it.
        error: Standard error of `measured`.
    """

    r: float
    points: int
    bias: float
    measured: float
    fitted: float
    error: float


@dataclass(frozen=True)
class DriftLevel:
    """Devices of about one target, later.

    Attributes:
        r: Their mean target.
        points: How many later readings there are.
        mean: Mean of the drift exponent nu.
        error: Its standard error.
        deviation: Standard deviation of nu.
    """

    r: float
    points: int
    mean: float
    error: float
    deviation: float


@dataclass(frozen=True)
class DeviceFit:
    """A noise model and how well it says what was measured.

    Attributes:
        model: The model.
        points: Readings right after programming.
        covariance: ``[degree + 1, degree + 1]`` of the coefficients of sigma.
        r_squared: Share of the variance of `measured` over the levels that `fitted` explains. A sigma that
            hardly depends on r leaves nothing to explain.
        levels: Programming, level by level.
        drift: Likewise; empty without later readings.
        warnings: What the measurements are too few or too narrow for.
    """

    model: NoiseModel
    points: int
    covariance: Float64
    r_squared: float
    levels: tuple[Level, ...]
    drift: tuple[DriftLevel, ...]
    warnings: tuple[str, ...]

    def standard_error(self, r: Float64) -> Float64:
        """Standard error of sigma at r."""
        terms = polyvander(r, len(self.covariance) - 1)
        return np.asarray(np.sqrt(np.einsum("ij,jk,ik->i", terms, self.covariance, terms)))


def fit_device(
    measured: Measurements,
    name: str,
    *,
    form: NoiseForm = "differential-pair",
    degree: int = 2,
    drift_reference: float | None = None,
    source: str = "",
) -> DeviceFit:
    """Fits sigma's polynomial, and drift where there are readings of several times.

    Args:
        measured: What was measured.
        name: Name of the noise model.
        form: `differential-pair` for single devices, whose targets aren't negative; `gaussian` for signed
            weights, which do not drift.
        degree: Of the polynomial.
        drift_reference: t0 in s; None for the time of the first readings.
        source: Where the numbers come from.

    Raises:
        InvalidInputError: Fewer different targets than coefficients, or signed targets of single devices.
        UsageError: A form that has no noise, later readings without a t0, or of signed weights.
    """
    pair = form == "differential-pair"
    if form == "none":
        raise UsageError("form 'none' has no noise to fit; choose differential-pair or gaussian")
    if pair and (measured.target < -SMALLEST).any():
        raise InvalidInputError(
            "a target is below g_min, which no single device can hold; signed weights are of form gaussian"
        )
    first = measured.time <= measured.time.min() * SAME_TIME
    later = not first.all()
    if later and not pair:
        raise UsageError("signed weights of form gaussian do not drift: give readings of one time")
    reference = float(measured.time[first].mean()) if drift_reference is None else drift_reference
    if later and not reference > 0:
        raise UsageError(
            "the first readings are at time 0, so that t0 is not known: say the seconds between programming "
            "and them by --drift-reference"
        )
    r, read = np.abs(measured.target[first]), measured.read[first]
    error = read - measured.target[first]
    hidden = (read <= -measured.offset + SMALLEST) & pair
    if len(np.unique(r)) <= degree:
        raise InvalidInputError(
            f"a polynomial of degree {degree} needs {degree + 1} different targets; there are "
            f"{len(np.unique(r))}: measure more, or choose a lower --degree"
        )
    coefficients, covariance, deviations = _fit_sigma(r, error, hidden, measured.offset, degree)
    fitted = polyvander(r, degree) @ coefficients
    levels = tuple(
        Level(
            r=float(r[members].mean()),
            points=int(members.sum()),
            bias=float(error[members].mean()),
            measured=float(deviations[members].mean()),
            fitted=float(fitted[members].mean()),
            error=float(deviations[members].std() / math.sqrt(max(1, (members & ~hidden).sum()))),
        )
        for members in _levels(r)
    )
    drift = _fit_drift(measured, first, reference) if later else ()
    model = NoiseModel(
        name,
        form,
        tuple(float(coefficient) for coefficient in coefficients),
        source,
        offset=measured.offset,
        drift_reference=reference if later else 1.0,
        drift_mean=_through([(level.r, level.mean) for level in drift]),
        drift_deviation=_through([(level.r, level.deviation) for level in drift]),
    )
    warnings = _warnings(r, fitted, degree, drift)
    return DeviceFit(model, len(r), covariance, _r_squared(levels), levels, drift, warnings)


def _fit_sigma(
    r: Float64, error: Float64, hidden: Mask, offset: float, degree: int
) -> tuple[Float64, Float64, Float64]:
    """Coefficients, their covariance, and each reading's own estimate of sigma."""
    terms = polyvander(r, degree)
    deviations = math.sqrt(math.pi / 2) * np.abs(error)
    coefficients: Float64 = np.zeros(degree + 1)
    fitted = np.full(len(r), max(float(deviations.mean()), SMALLEST))
    for _ in range(ROUNDS):
        deviations[hidden] = math.sqrt(math.pi / 2) * _mean_below(r[hidden] + offset, fitted[hidden])
        before, weights = coefficients, 1 / fitted
        solved, *_ = np.linalg.lstsq(terms * weights[:, None], deviations * weights, rcond=None)
        coefficients = np.asarray(solved, np.float64)
        # A polynomial may dip below 0, where it counts as none; no weight may become infinite there.
        fitted = np.maximum(terms @ coefficients, max(1e-3 * float(deviations.mean()), SMALLEST))
        if np.allclose(before, coefficients, rtol=1e-9, atol=1e-12):
            break
    seen = ~hidden
    weighted = terms[seen] / fitted[seen, None]
    residuals = deviations[seen] / fitted[seen] - 1
    freedom = max(1, int(seen.sum()) - degree - 1)
    covariance = np.linalg.pinv(weighted.T @ weighted) * float(residuals @ residuals) / freedom
    return coefficients, covariance, deviations


def _mean_below(distance: Float64, sigma: Float64) -> Float64:
    """Mean of sigma |z| over those z that bring a device from `distance` to below 0."""
    z = distance / sigma
    share = np.array([max(0.5 * math.erfc(one / math.sqrt(2)), 1e-300) for one in z])
    return np.asarray(sigma * np.exp(-z * z / 2) / math.sqrt(2 * math.pi) / share)


def _levels(r: Float64) -> list[Mask]:
    """Devices of about one target, in ascending order."""
    targets = np.unique(r)
    if len(targets) <= FEW_TARGETS:
        return [r == target for target in targets]
    edges = np.quantile(r, np.linspace(0, 1, LEVELS + 1))
    edges[-1] = math.inf
    found = [(low <= r) & (r < high) for low, high in itertools.pairwise(edges)]
    return [members for members in found if members.any()]


def _fit_drift(measured: Measurements, first: Mask, reference: float) -> tuple[DriftLevel, ...]:
    wanted = measured.target >= LEAST_TARGET
    if not (wanted & first).any() or not (wanted & ~first).any():
        raise InvalidInputError(
            f"drift needs first and later readings of targets from {LEAST_TARGET:g} g_max on"
        )
    target = measured.target[wanted]
    kept = (measured.read[wanted] + measured.offset) / (target + measured.offset)
    elapsed = measured.time[wanted] - measured.time.min()
    logarithm = np.log((elapsed + reference) / reference)
    times = _times(measured.time[wanted], first[wanted])
    found = []
    for members in _levels(target):
        level = _drift_level(target, kept, logarithm, members, times)
        if level is not None:
            found.append(level)
    if not found:
        raise InvalidInputError("no target has both first and later readings, so that no drift can be fitted")
    return tuple(found)


def _times(time: Float64, first: Mask) -> list[Mask]:
    """The readings of each time; the first of all come first."""
    found, left = [first], ~first
    while left.any():
        members = left & (time <= time[left].min() * SAME_TIME)
        found.append(members)
        left &= ~members
    return found


def _drift_level(
    target: Float64, kept: Float64, logarithm: Float64, members: Mask, times: list[Mask]
) -> DriftLevel | None:
    """The drift exponents of one level, from the first and each later time; None where one is missing."""
    start = kept[members & times[0]]
    later = [(kept[now], float(logarithm[now].mean())) for time in times[1:] if (now := members & time).any()]
    if len(start) < 2 or not any(len(one) >= 2 for one, _ in later):
        return None
    spread = start.var() / start.mean() ** 2
    squares, means = [], []
    for one, L in later:
        relative = one.var() / one.mean() ** 2
        squares.append((math.log((1 + relative) / (1 + spread)) / L**2, len(one) * L**2))
        error = math.sqrt(spread / len(start) + relative / len(one)) / L
        means.append((-math.log(max(one.mean() / start.mean(), SMALLEST)) / L, error, L))
    estimates, weights = np.transpose(squares)
    square = max(0.0, float(np.average(estimates, weights=weights)))
    weights = np.array([1 / max(error, SMALLEST) ** 2 for _, error, _ in means])
    mean = float(np.average([nu + square * L / 2 for nu, _, L in means], weights=weights))
    return DriftLevel(
        r=float(target[members].mean()),
        points=sum(len(one) for one, _ in later),
        mean=mean,
        # Times share the first readings, so that they do not average their error away.
        error=min(error for _, error, _ in means),
        deviation=math.sqrt(square),
    )


def _through(points: list[tuple[float, float]]) -> tuple[float, ...]:
    """A curve that is linear between points, and constant outside."""
    if not points:
        return ()
    numbers = list(piece((points[0][1],)))
    for (r0, v0), (r1, v1) in itertools.pairwise(points):
        slope = (v1 - v0) / (r1 - r0)
        numbers += piece((v0 - slope * r0, slope), start=r0)
    if len(points) > 1:
        numbers += piece((points[-1][1],), start=points[-1][0])
    return tuple(numbers)


def _r_squared(levels: tuple[Level, ...]) -> float:
    points, measured, fitted = np.transpose([(one.points, one.measured, one.fitted) for one in levels])
    mean = np.average(measured, weights=points)
    total = float(points @ (measured - mean) ** 2)
    return 1 - float(points @ (measured - fitted) ** 2) / total if total > 0 else 1.0


def _warnings(r: Float64, fitted: Float64, degree: int, drift: tuple[DriftLevel, ...]) -> tuple[str, ...]:
    found = []
    if len(r) < ENOUGH * (degree + 1):
        found.append(
            f"{len(r)} readings are few for {degree + 1} coefficients; {ENOUGH * (degree + 1)} or more let "
            "sigma err by some percent only"
        )
    if r.min() > 0.1 or r.max() < 0.9:
        found.append(
            f"targets reach from {r.min():.3g} to {r.max():.3g} g_max; beyond them the polynomial is a guess"
        )
    if (fitted < -0.01 * fitted.max()).any():
        found.append("the polynomial falls below 0 at some targets; choose another --degree")
    few = [level for level in drift if level.points < ENOUGH]
    if few:
        found.append(f"drift at r = {few[0].r:.3g} stands on {few[0].points} later readings")
    return tuple(found)
