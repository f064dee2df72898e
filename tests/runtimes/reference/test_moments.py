"""Moments of programmed devices against many programmings of the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hetc.hardware.noise_models import NOISE_MODELS
from hetc.hardware.profile import Profile
from hetc.runtimes.reference.moments import CELLS, Moments, moments
from hetc.runtimes.reference.programming import program_slices
from hetc.runtimes.reference.settings import Crossbar, crossbar_of

DRAWS = 8000
TARGETS = np.array([1.0, -0.75, 0.3, 0.05, 0.01, 0.0], np.float32)
"""The first one is the largest of its column, and so its scale."""
AGES: dict[str, dict[str, Any]] = {
    "new": {},
    "loud": {"noise_scale": 8.0},
    "drifted": {"drift_time": 86400.0, "drift_compensation": "none"},
    "compensated": {"drift_time": 86400.0, "noise_scale": 2.0},
    "flickering": {"drift_time": 3600.0, "flicker_noise": 1.0},
}


@pytest.mark.parametrize("name", ["pcm", "hermes", "afm", "reram_cmo", "gaussian", "multiplicative"])
@pytest.mark.parametrize("age", AGES)
def test_errors_are_those_of_the_reference(name: str, age: str) -> None:
    noise = NOISE_MODELS[name]
    if AGES[age].get("drift_time") and not noise.drift_mean:
        pytest.skip("no drift is known")
    profile = Profile(noise=noise, tile_columns=1 << 20, **AGES[age])
    crossbar = crossbar_of(profile, "noisy", seed=3, store="float32")
    clean = np.repeat(TARGETS[:, None], DRAWS, axis=1)
    (programmed,) = program_slices(clean, crossbar, 0)
    errors = (programmed.weights * programmed.compensation).astype(np.float64) - clean
    found, cells = moments(crossbar), Moments.cells(TARGETS, np.float32(1))
    factor = 1.0
    if crossbar.drifts and profile.drift_compensation == "global":
        factor = float(found.before[cells].sum() / found.now[cells].sum())
        assert factor == pytest.approx(programmed.compensation.mean(), rel=0.01)
    np.testing.assert_allclose(found.square(factor)[cells], (errors**2).mean(axis=1), rtol=0.1, atol=1e-9)


def test_weights_that_are_not_programmed_make_no_error() -> None:
    assert not moments(Crossbar("converters")).square().any()
    quiet = crossbar_of(Profile(noise_scale=0.0), "noisy")
    assert not moments(quiet).square().any()


def test_small_noise_is_not_lost_between_large_numbers() -> None:
    small, double = (
        moments(crossbar_of(Profile(noise_scale=scale), "noisy")).square() for scale in (1e-4, 2e-4)
    )
    np.testing.assert_allclose(double[1:] / small[1:], 4, rtol=0.2)


def test_a_cell_is_the_nearest() -> None:
    weights = np.array([0.0, 0.5, -2.0], np.float32)
    assert Moments.cells(weights, np.float32(2)).tolist() == [0, CELLS // 4, CELLS]
