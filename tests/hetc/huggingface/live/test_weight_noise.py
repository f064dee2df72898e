"""Moments and draws of programmed weights against the NumPy reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hetc.base.errors import UsageError
from hetc.hardware.noise_models import NOISE_MODELS
from hetc.hardware.profile import Profile
from hetc.huggingface.live.weight_noise import draw_weights, mean_square_error
from hetc.runtimes.reference import Crossbar, program

DRAWS = 4000
TARGETS = (1.0, -0.75, 0.3, 0.05, 0.0)
"""The first one is the largest of its column, and so its scale."""


def programmed(profile: Profile) -> np.ndarray:
    """Errors of `DRAWS` columns with the weights `TARGETS`, `[targets, draws]`, by the reference."""
    clean = np.repeat(np.array(TARGETS, np.float32)[:, None], DRAWS, axis=1)
    noise = profile.noise
    crossbar = Crossbar(
        mode="noisy",
        noise_form=noise.form,
        noise_sigma=noise.sigma,
        noise_sigma_breaks=noise.sigma_breaks,
        noise_floor=noise.floor,
        noise_offset=noise.offset,
        noise_scale=profile.noise_scale,
        store="float32",
        seed=3,
    )
    return program(clean, crossbar, 0, transpose_weight=False) - clean


@pytest.mark.parametrize("name", ["pcm", "hermes", "afm", "reram_cmo", "gaussian", "multiplicative"])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_moments_are_those_of_the_reference(name: str, scale: float) -> None:
    profile = Profile(noise=NOISE_MODELS[name], noise_scale=scale)
    errors = programmed(profile).astype(np.float64)
    moments = mean_square_error(torch.tensor([TARGETS]), profile)[0].numpy()
    np.testing.assert_allclose(moments, (errors**2).mean(axis=1), rtol=0.12, atol=1e-9)


@pytest.mark.parametrize("name", ["pcm", "afm", "reram_cmo", "gaussian", "none"])
def test_draws_have_the_moments(name: str) -> None:
    profile = Profile(noise=NOISE_MODELS[name], noise_scale=2.0)
    weight = torch.tensor(TARGETS).expand(DRAWS, -1)
    error = draw_weights(weight, profile, torch.Generator().manual_seed(0)) - weight
    moments = mean_square_error(weight[:1], profile)[0]
    np.testing.assert_allclose(error.square().mean(0), moments, rtol=0.12, atol=1e-9)


def test_weights_scale_with_their_slice_and_tile() -> None:
    weight = torch.tensor([[1.0, 1.0, 10.0, 10.0], [2.0, 2.0, 2.0, 2.0]])
    gaussian = Profile(noise=NOISE_MODELS["gaussian"], tile_rows=2, tile_columns=2)
    expected = (0.025 * torch.tensor([[1.0, 1.0, 10.0, 10.0], [2.0, 2.0, 2.0, 2.0]])) ** 2
    torch.testing.assert_close(mean_square_error(weight, gaussian), expected)
    by_tile = mean_square_error(weight, replace(gaussian, scale_mode="tile"))
    torch.testing.assert_close(by_tile[0], (0.025 * torch.tensor([2.0, 2.0, 10.0, 10.0])) ** 2)


def test_aged_arrays_are_refused() -> None:
    with pytest.raises(UsageError, match="programming noise alone"):
        mean_square_error(torch.ones(2, 2), Profile(drift_time=3600.0))
