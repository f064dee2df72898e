"""Draws of programmed weights against the moments of the devices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hetc.base.errors import UsageError
from hetc.hardware.noise_models import NOISE_MODELS
from hetc.hardware.profile import Profile
from hetc.huggingface.live.weight_noise import draw_weights
from hetc.runtimes.reference.moments import Moments, moments
from hetc.runtimes.reference.settings import crossbar_of

DRAWS = 4000
TARGETS = (1.0, -0.75, 0.3, 0.05, 0.0)
"""The first one is the largest of its column, and so its scale."""


@pytest.mark.parametrize("name", ["pcm", "afm", "reram_cmo", "gaussian", "none"])
def test_draws_have_the_moments(name: str) -> None:
    profile = Profile(noise=NOISE_MODELS[name], noise_scale=2.0)
    weight = torch.tensor(TARGETS).expand(DRAWS, -1)
    error = draw_weights(2 * weight, profile, torch.Generator().manual_seed(0)) - 2 * weight
    cells = Moments.cells(np.array(TARGETS, np.float32), np.float32(1))
    expected = 4 * moments(crossbar_of(profile, "noisy")).square()[cells]
    np.testing.assert_allclose(error.square().mean(0), expected, rtol=0.12, atol=1e-9)


def test_weights_scale_with_their_slice_and_tile() -> None:
    weight = torch.tensor([[1.0, 0.0, 100.0, 0.0], [2.0, 0.0, 2.0, 0.0]]).repeat(400, 1)
    gaussian = Profile(noise=NOISE_MODELS["gaussian"], tile_rows=2)
    drawn = draw_weights(weight, gaussian, torch.Generator().manual_seed(0)) - weight
    even = drawn[::2, 1].std(), drawn[1::2, 1].std(), drawn[::2, 3].std()
    np.testing.assert_allclose(even, [0.025, 0.05, 2.5], rtol=0.15)
    by_tile = Profile(noise=NOISE_MODELS["gaussian"], tile_rows=2, scale_mode="tile")
    tiled = draw_weights(weight, by_tile, torch.Generator().manual_seed(0)) - weight
    np.testing.assert_allclose([tiled[::2, 1].std(), tiled[1::2, 3].std()], [0.05, 2.5], rtol=0.15)


def test_aged_arrays_are_refused() -> None:
    with pytest.raises(UsageError, match="programming noise alone"):
        draw_weights(torch.ones(2, 2), Profile(drift_time=3600.0), torch.Generator())
