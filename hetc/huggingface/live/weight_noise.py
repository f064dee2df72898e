"""What programming does to a weight, as torch expressions: its mean square error, and random draws of it.

The device models are those of `docs/operators.md`; moments of a pair that is cut off at its lowest
conductance are those of the rectified normal distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from hetc.base.errors import UsageError
from hetc.hardware.profile import Profile
from hetc.runtimes.reference import sigma, split

__all__ = ["draw_weights", "mean_square_error"]


def mean_square_error(weight: torch.Tensor, profile: Profile) -> torch.Tensor:
    """Variance plus squared bias of every programmed weight.

    Args:
        weight: `[..., outputs, inputs]` clean weights.
        profile: Noise, its scale, and the tile that weights are scaled by.

    Returns:
        The same shape, float32, in units of the weight squared.

    Raises:
        UsageError: The profile ages the array: only programming noise has moments here.
    """

    def of_targets(targets: torch.Tensor) -> torch.Tensor:
        if profile.noise.form == "none":
            return torch.zeros_like(targets)
        if profile.noise.form == "gaussian":
            error = (profile.noise_scale * _sigma(targets.abs(), profile)) ** 2
        else:
            plus, plus_variance = _rectified(targets.clamp_min(0), profile)
            minus, minus_variance = _rectified((-targets).clamp_min(0), profile)
            error = plus_variance + minus_variance + (plus - minus - targets) ** 2
        return torch.where(targets.abs() < profile.noise.floor, targets**2, error)

    return _by_slice(weight, profile, of_targets, power=2)


def draw_weights(weight: torch.Tensor, profile: Profile, generator: torch.Generator) -> torch.Tensor:
    """Weights as one programming leaves them; arguments as for `mean_square_error`.

    The draws are torch's own, for estimates of an expectation; those of a bundle come from its kernels.
    """

    def noise(targets: torch.Tensor) -> torch.Tensor:
        normals = torch.randn(targets.shape, generator=generator, dtype=targets.dtype, device=targets.device)
        return profile.noise_scale * _sigma(targets.abs(), profile) * normals

    def of_targets(targets: torch.Tensor) -> torch.Tensor:
        if profile.noise.form == "none":
            return targets
        if profile.noise.form == "gaussian":
            drawn = targets + noise(targets)
        else:
            plus, minus = targets.clamp_min(0), (-targets).clamp_min(0)
            lowest = -profile.noise.offset
            drawn = (plus + noise(plus)).clamp_min(lowest) - (minus + noise(minus)).clamp_min(lowest)
        return torch.where(targets.abs() < profile.noise.floor, torch.zeros_like(targets), drawn)

    return _by_slice(weight, profile, of_targets, power=1)


def _by_slice(
    weight: torch.Tensor,
    profile: Profile,
    function: Callable[[torch.Tensor], torch.Tensor],
    *,
    power: int,
) -> torch.Tensor:
    """Applies `function` to the targets in [-1, 1] of each K-slice; its result is in scale ** power."""
    if profile.noise.times or profile.drift_time > 0 or profile.flicker_noise > 0:
        raise UsageError(
            f"profile {profile.name!r}: scores look at programming noise alone; choose one with "
            "drift_time 0, flicker_noise 0 and a noise model of one time"
        )
    parts = []
    for rows in split(weight.shape[-1], profile.tile_rows):
        clean = weight[..., rows].float()
        scale = clean.abs().amax(-1, keepdim=True).clamp_min(1e-30)
        if profile.scale_mode == "tile":
            columns = split(weight.shape[-2], profile.tile_columns)
            largest = [
                scale[..., tile, :].amax(-2, keepdim=True).expand_as(scale[..., tile, :]) for tile in columns
            ]
            scale = torch.cat(largest, -2)
        # float64: the moments of a rectified normal are differences of nearly equal numbers.
        result = function((clean / scale).double())
        parts.append((result * scale.double() ** power).float())
    return torch.cat(parts, -1)


def _sigma(r: torch.Tensor, profile: Profile) -> torch.Tensor:
    """Standard deviation of a device in units of g_max."""
    deviation: torch.Tensor = sigma(r, profile.noise.sigma, profile.noise.sigma_breaks)
    return deviation


def _rectified(target: torch.Tensor, profile: Profile) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of max(lowest, N(target, (c sigma)^2))."""
    deviation = (profile.noise_scale * _sigma(target, profile)).clamp_min(1e-30)
    lowest = -profile.noise.offset
    distance = (target - lowest) / deviation
    density = torch.exp(-distance * distance / 2) / math.sqrt(2 * math.pi)
    above = torch.special.ndtr(distance)
    mean = deviation * (density + distance * above)
    square = deviation**2 * ((distance**2 + 1) * above + distance * density)
    return mean + lowest, (square - mean**2).clamp_min(0)
