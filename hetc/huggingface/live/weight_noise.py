"""Random draws of what programming makes of a weight; the device models are those of `docs/operators.md`."""

from __future__ import annotations

import torch

from hetc.base.errors import UsageError
from hetc.hardware.profile import Profile
from hetc.runtimes.reference import add_noise, split
from hetc.runtimes.reference.programming import TINY, weight_scale
from hetc.runtimes.reference.settings import crossbar_of

__all__ = ["draw_weights"]


def draw_weights(weight: torch.Tensor, profile: Profile, generator: torch.Generator) -> torch.Tensor:
    """Weights as one programming leaves them.

    The draws are torch's own, for estimates of an expectation; those of a bundle come from its kernels.

    Args:
        weight: `[outputs, inputs]` clean weights.
        profile: Noise, its scale, and the tile that weights are scaled by.
        generator: Of the draws, on the weight's device.

    Returns:
        The same shape, float32.

    Raises:
        UsageError: The profile ages the array.
    """
    noise = profile.noise
    if noise.times or profile.drift_time > 0 or profile.flicker_noise > 0:
        raise UsageError(
            f"profile {profile.name!r}: scores look at programming noise alone; choose one with "
            "drift_time 0, flicker_noise 0 and a noise model of one time"
        )
    crossbar = crossbar_of(profile, "noisy")
    if not crossbar.programs:
        return weight.float()
    parts = []
    for rows in split(weight.shape[1], profile.tile_rows):
        clean = weight[:, rows].float()
        scale = weight_scale(clean.T, crossbar)[:, None].clamp_min(TINY)
        u = clean / scale
        z0, z1 = (torch.randn(u.shape, generator=generator, device=u.device) for _ in range(2))
        settings = noise.sigma, profile.noise_scale, noise.sigma_breaks, noise.offset
        drawn = add_noise(u, z0, z1, noise.form, *settings)
        parts.append(scale * torch.where(u.abs() < noise.floor, 0, drawn))
    return torch.cat(parts, 1)
