"""Programmed conductances: distribution, independence of draws, stores."""

from __future__ import annotations

import json
from math import erf, exp, pi, sqrt
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from places import TESTS

from hetc.base.errors import InvalidInputError
from hetc.runtimes.reference import Crossbar, add_noise, program, sigma, standard_normals, store

GOLDENS = json.loads((TESTS / "goldens.json").read_text())

# IBM/aihwkit 1.2.0, PCMLikeNoiseModel: sigma in microsiemens at g_max 25, and HermesNoiseModel at g_max 20.7.
PCM = tuple(value / 25 for value in (0.26348, 1.9650, -1.1731))
HERMES = tuple(value / 20.7 for value in (0.16603222, 4.71806468, -8.48101252, 4.68961419))
RELATIVE = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)


def rectified(mean: float, deviation: float) -> tuple[float, float]:
    """Mean and variance of max(0, N(mean, deviation^2))."""
    ratio = mean / deviation
    density, below = exp(-(ratio**2) / 2) / sqrt(2 * pi), (1 + erf(ratio / sqrt(2))) / 2
    first = mean * below + deviation * density
    second = (mean**2 + deviation**2) * below + mean * deviation * density
    return first, second - first**2


@pytest.mark.parametrize(
    ("coefficients", "table", "maximum"),
    [(PCM, "pcm25_sigma_prog_uS", 25.0), (HERMES, "hermes2_sigma_prog_uS", 20.7)],
)
def test_sigma_is_the_published_table(coefficients: tuple[float, ...], table: str, maximum: float) -> None:
    got = sigma(np.array(GOLDENS["x_rel"], np.float32), coefficients) * maximum
    np.testing.assert_allclose(got, GOLDENS[table], rtol=1e-6)


def test_negative_sigma_counts_as_zero() -> None:
    np.testing.assert_array_equal(sigma(np.array([0.0, 1.0], np.float32), (0.1, -0.2)), [np.float32(0.1), 0])


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("r", RELATIVE)
def test_a_programmed_pair_has_the_moments_of_the_rectified_pair(r: float, scale: float) -> None:
    w = np.full((1024, 1024), r, np.float32)
    crossbar = Crossbar(
        "noisy", noise_form="differential-pair", noise_sigma=PCM, noise_scale=scale, store="float32", seed=11
    )
    got = program(w, crossbar, 3, transpose_weight=False, weight_scale=np.ones((2, 1), np.float32)).astype(
        np.float64
    )
    zero = float(sigma(np.zeros(1, np.float32), PCM)[0]) * scale
    target = float(sigma(np.array([r], np.float32), PCM)[0]) * scale
    plus, minus = rectified(r, target), rectified(0, zero)
    deviation = sqrt(plus[1] + minus[1])
    # At r = 0 the two devices cancel on average: the mean is measured against the spread there.
    tolerance = 0.01 * (abs(plus[0] - minus[0]) if r else deviation)
    assert abs(got.mean() - (plus[0] - minus[0])) < tolerance
    assert abs(got.std() / deviation - 1) < 0.01


def test_negative_weights_mirror_positive_ones() -> None:
    crossbar = Crossbar("noisy", noise_form="differential-pair", noise_sigma=PCM, store="float32")
    scale = np.ones((1, 1), np.float32)
    got = program(
        np.full((512, 512), -0.5, np.float32), crossbar, 0, transpose_weight=False, weight_scale=scale
    )
    expected = rectified(0, PCM[0])[0] - rectified(0.5, float(sigma(np.array([0.5], np.float32), PCM)[0]))[0]
    assert abs(got.mean() / expected - 1) < 0.01


def test_gaussian_noise_has_its_deviation_and_no_bias() -> None:
    crossbar = Crossbar(
        "noisy", noise_form="gaussian", noise_sigma=(0.025,), noise_scale=2.0, store="float32"
    )
    w = np.full((1024, 1024), 0.3, np.float32)
    noise = program(w, crossbar, 0, transpose_weight=False).astype(np.float64) - 0.3
    assert abs(noise.mean()) < 0.01 * noise.std()
    assert abs(noise.std() / (0.3 * 2 * 0.025) - 1) < 0.01


def test_normals_are_standard_and_independent() -> None:
    z0, z1, *_ = standard_normals(np.arange(1024), np.arange(1024), stream=1, seed=2**62 + 5)
    for z in (z0.astype(np.float64), z1.astype(np.float64)):
        assert abs(z.mean()) < 0.005
        assert abs(z.std() - 1) < 0.005
        assert abs((z**4).mean() - 3) < 0.05
    assert abs(np.corrcoef(z0.ravel(), z1.ravel())[0, 1]) < 0.005
    assert abs(np.corrcoef(z0[1:].ravel(), z0[:-1].ravel())[0, 1]) < 0.005
    assert abs(np.corrcoef(z0[:, 1:].ravel(), z0[:, :-1].ravel())[0, 1]) < 0.005


@pytest.mark.parametrize("change", [{"stream": 2}, {"seed": 1}, {"seed": 2**32}])
def test_streams_and_seeds_are_uncorrelated(change: dict[str, int]) -> None:
    """Gate and up have the same shape and differ by their stream only."""
    first, *_ = standard_normals(np.arange(512), np.arange(512), stream=1, seed=0)
    second, *_ = standard_normals(np.arange(512), np.arange(512), **{"stream": 1, "seed": 0, **change})
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.01


def test_gate_and_up_noise_is_uncorrelated() -> None:
    # Different weights, since the pair's bias has the sign of the weight and equal weights would share it.
    weights = np.random.default_rng(0).normal(size=(2, 512, 512)).astype(np.float32)
    crossbar = Crossbar("noisy", noise_form="differential-pair", noise_sigma=PCM)

    def correlation(streams: tuple[int, int]) -> float:
        noise = [
            (program(w, crossbar, stream, transpose_weight=True) - w.T).ravel()
            for w, stream in zip(weights, streams, strict=True)
        ]
        return float(abs(np.corrcoef(noise)[0, 1]))

    assert correlation((10, 11)) < 0.01
    assert correlation((10, 10)) > 0.5


def test_tile_size_orientation_and_position_do_not_change_a_draw() -> None:
    w = np.full((40, 30), 0.5, np.float32)
    options: dict[str, Any] = {"noise_form": "gaussian", "noise_sigma": (0.1,), "store": "float32"}
    whole = program(w, Crossbar("noisy", tile_rows=64, **options), 4, transpose_weight=False)
    tiled = program(w, Crossbar("noisy", tile_rows=7, tile_columns=3, **options), 4, transpose_weight=False)
    turned = program(w.T, Crossbar("noisy", tile_rows=64, **options), 4, transpose_weight=True)
    np.testing.assert_array_equal(whole, tiled)
    np.testing.assert_array_equal(whole, turned)
    z0, *_ = standard_normals(np.array([17]), np.array([21]), 4, 0)
    np.testing.assert_allclose(whole[17, 21], 0.5 * (1 + np.float32(0.1) * z0[0, 0]), rtol=1e-6)


def test_zero_columns_are_programmed_to_zero() -> None:
    w = np.ones((8, 3), np.float32)
    w[:, 1] = 0
    got = program(
        w,
        Crossbar("noisy", noise_form="differential-pair", noise_sigma=PCM),
        0,
        transpose_weight=False,
    )
    np.testing.assert_array_equal(got[:, 1], 0)
    assert (got[:, 0] != 1).any()


@pytest.mark.parametrize("options", [{"noise_form": "none"}, {"noise_form": "gaussian", "noise_scale": 0.0}])
def test_without_noise_the_weights_stay_clean(options: dict[str, object]) -> None:
    w = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    crossbar = Crossbar("noisy", noise_sigma=(0.1,), **options)  # type: ignore[arg-type]
    np.testing.assert_array_equal(program(w, crossbar, 0, transpose_weight=False), w)


def test_stores() -> None:
    g = np.random.default_rng(0).uniform(-1, 1, size=(64, 5)).astype(np.float32)
    g[:, 2] = 0
    np.testing.assert_array_equal(store(g, "float32"), g)
    bfloat16 = store(g, "bfloat16")
    np.testing.assert_array_equal(bfloat16, bfloat16.astype(ml_dtypes.bfloat16).astype(np.float32))
    assert np.all(np.abs(bfloat16 - g) <= np.abs(g) * 2.0**-8)
    int8 = store(g, "int8")
    largest = np.abs(g).max(axis=0)
    assert np.all(np.abs(int8 - g) <= largest / 127 * 0.5001)
    np.testing.assert_array_equal(int8[:, 2], 0)
    assert all(len(np.unique(column)) <= 255 for column in int8.T)


def test_what_cannot_be_programmed_is_refused() -> None:
    w = np.ones((2, 2), np.float32)
    with pytest.raises(InvalidInputError, match="noise_form is 'pink'"):
        program(w, Crossbar("noisy", noise_form="pink", noise_sigma=(0.1,)), 0, transpose_weight=False)
    with pytest.raises(InvalidInputError, match="store is 'int4'"):
        program(
            w,
            Crossbar("noisy", noise_form="gaussian", noise_sigma=(0.1,), store="int4"),
            0,
            transpose_weight=False,
        )
    w[0, 0] = np.nan
    with pytest.raises(InvalidInputError, match="stream 7"):
        program(w, Crossbar("noisy"), 7, transpose_weight=False)


def test_one_device_of_a_pair_is_cut_off_at_zero() -> None:
    z = np.array([-5.0, 5.0], np.float32)
    g = add_noise(np.zeros(2, np.float32), z, z[::-1], "differential-pair", (0.1,), 2.0)
    np.testing.assert_allclose(g, [-1.0, 1.0])
