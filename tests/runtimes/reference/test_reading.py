"""Noise of every product, IR drop, the random DAC and bound management in the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hetc.base.errors import InvalidInputError
from hetc.runtimes.reference import Crossbar, analog_matmul, convert, hash_values
from hetc.runtimes.reference.reading import product_normals, squared_products

PLAIN: dict[str, Any] = {"dac_bits": 0, "adc_bits": 0}


def product(x: np.ndarray, w: np.ndarray, mode: str = "noisy", **settings: Any) -> np.ndarray:
    """x w with ranges and scales of 1, so that the tile is normalised."""
    scales = {"input_range": np.ones(1, np.float32), "weight_scale": np.ones((1, 1), np.float32)}
    crossbar = Crossbar(mode, tile_rows=4096, **{**PLAIN, **settings})
    return analog_matmul(x, w, crossbar, 1, transpose_weight=False, **scales).astype(np.float64)


def noise(**settings: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, w and the noise of a million products."""
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (2048, 32)).astype(np.float32)
    w = random.uniform(-1, 1, (32, 512)).astype(np.float32)
    return x, w, product(x, w, **settings) - product(x, w, "converters")


def assert_standard(z: np.ndarray) -> None:
    assert z.size >= 1_000_000
    assert abs(z.mean()) < 0.005 and abs(z.std() - 1) < 0.01


def test_output_noise() -> None:
    assert_standard(noise(output_noise=0.04)[2] / 0.04)


def test_additive_noise_grows_with_the_norm() -> None:
    x, _, error = noise(weight_noise=0.02)
    assert_standard(error / (0.02 * np.linalg.norm(x, axis=1, keepdims=True)))


def test_pcm_read_noise_grows_with_weights_and_inputs() -> None:
    x, w, error = noise(weight_noise=0.0175, weight_noise_form="pcm-read")
    assert_standard(error / (0.0175 * np.sqrt(x.astype(np.float64) ** 2 @ np.abs(w))))


@pytest.mark.parametrize("outlier", [1, 8])
@pytest.mark.parametrize("freedom", [np.inf, 5.0])
def test_weights_of_7_bits_leave_the_spread_of_pcm_read_noise(freedom: float, outlier: int) -> None:
    """Also where weights have heavy tails (Student's t), and one input is 8 times the range of the rest."""
    random = np.random.default_rng(5)
    w = random.normal(size=(512, 256))
    if np.isfinite(freedom):
        w = w / np.sqrt(random.chisquare(freedom, w.shape) / freedom)
    q = np.rint(np.clip(random.normal(size=(64, 512)) * 40, -127, 127) / outlier)
    q[:, 17] = 127
    q, w = q.astype(np.float32), w.astype(np.float32)
    exact = np.sqrt(q.astype(np.float64) ** 2 @ np.abs(w))
    error = np.sqrt(squared_products(q, w)) / exact - 1
    assert np.sqrt((error**2).mean()) < (0.002 if outlier == 1 else 0.01)


def test_every_output_draws_its_own_normal() -> None:
    q = np.arange(12, dtype=np.float32).reshape(3, 4)
    z = product_normals(q, np.arange(q.shape[1]), np.arange(200), Crossbar("noisy"), 1)
    assert z.shape == (3, 200)
    assert len(np.unique(z)) == z.size
    np.testing.assert_array_equal(
        z[:, :70], product_normals(q, np.arange(q.shape[1]), np.arange(70), Crossbar("noisy"), 1)
    )
    many = product_normals(
        np.arange(8192, dtype=np.float32)[:, None], np.arange(1), np.arange(128), Crossbar("noisy"), 1
    )
    assert_standard(many)
    assert np.abs(np.corrcoef(many.T) - np.eye(128)).max() < 0.06


def test_two_noises_add_their_variances() -> None:
    x, w, error = noise(output_noise=0.1, weight_noise=0.0175, weight_noise_form="pcm-read")
    variance = 0.1**2 + 0.0175**2 * (x.astype(np.float64) ** 2 @ np.abs(w))
    assert_standard(error / np.sqrt(variance))


def test_ir_drop_formula() -> None:
    random = np.random.default_rng(1)
    x, w = (random.uniform(-1, 1, shape).astype(np.float32) for shape in ((3, 300), (300, 5)))
    got = product(x, w, ir_drop=2.0) - product(x, w, "converters")
    expected = np.zeros((3, 5))
    for m in range(3):
        for n in range(5):
            a = 300 / 571428.57 * sum(abs(w[j, n] * x[m, j]) for j in range(300))
            c = a * (a * (0.05 * a - 0.2) + 0.5)
            total = sum(float(w[j, n] * x[m, j]) * (1 - (1 - j / 300) ** 2) for j in range(300))
            expected[m, n] = -2.0 * c * total
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)


def test_a_stochastic_dac_is_right_on_average() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (4096, 256)).astype(np.float32)
    x[:, 0] = 0.3
    settings = {"dac_bits": 4, "adc_bits": 0, "dac_rounding": "stochastic"}
    eye = np.eye(256, dtype=np.float32)
    codes = product(x, eye, **settings) * 7
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-4)
    assert np.abs(codes - x * 7).max() <= 1
    assert abs(codes[:, 0].mean() - 2.1) < 0.02
    assert abs((codes - x * 7).mean()) < 1e-3
    np.testing.assert_array_equal(
        product(x, eye, "converters", **settings), product(x, eye, dac_bits=4, adc_bits=0)
    )


def test_noise_belongs_to_the_vector_and_its_slice() -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(6, 40)).astype(np.float32)
    w = random.normal(size=(40, 9)).astype(np.float32)
    crossbar = Crossbar("noisy", tile_rows=16, output_noise=0.1)
    together = analog_matmul(x, w, crossbar, 1, transpose_weight=False)
    again = analog_matmul(x[::-1], w, crossbar, 1, transpose_weight=False)[::-1]
    np.testing.assert_array_equal(together, again)
    same = np.tile(x[:1, :16], (1, 2))  # two slices with the same codes
    parts = convert(same, np.tile(w[:16], (2, 1)), crossbar, 1, transpose_weight=False)
    assert not np.allclose(parts[0].value, parts[1].value)


def test_hash_of_known_values() -> None:
    """SplitMix64's first output from state 0 is mix(9E3779B97F4A7C15)."""
    word = np.uint64(0x9E3779B97F4A7C15)
    value = np.array([[word & np.uint64(0xFFFFFFFF)]], np.uint64).astype(np.uint32).view(np.float32)
    assert hash_values(value, np.array([word >> np.uint64(32)]))[0] == 0xE220A8397B1DCDAF
    zeros = np.array([[0.0, -0.0], [0.0, 0.0]], np.float32)
    assert hash_values(zeros, np.array([7]))[0] == hash_values(zeros, np.array([7]))[1]
    assert hash_values(zeros, np.array([7]))[0] != hash_values(zeros, np.array([8]))[0]


def test_bound_management_doubles_the_range_until_nothing_clips() -> None:
    x, w = np.ones((1, 8), np.float32), np.ones((8, 1), np.float32)
    settings: dict[str, Any] = {"out_bound": 3.0, "tile_rows": 8}
    clipped = analog_matmul(x, w, Crossbar("converters", **settings), 0, transpose_weight=False)
    managed = Crossbar("converters", bound_management="iterative", **settings)
    np.testing.assert_allclose(clipped, [[3.0]])
    # 8 fits a bound of 3 x 4; the step there is 12 / 127, that of the DAC 4 / 127
    np.testing.assert_allclose(
        analog_matmul(x, w, managed, 0, transpose_weight=False), [[8.0]], atol=6 / 127 + 8 * 2 / 127
    )
    [conversion] = convert(np.concatenate([x, x / 8]), w, managed, 0, transpose_weight=False)
    np.testing.assert_allclose(conversion.step[:, 0], np.array([4, 1 / 8 * 4]) * 3 / 127, rtol=1e-6)


def test_bound_management_gives_up_at_a_quarter_of_the_levels() -> None:
    x, w = np.ones((1, 8), np.float32), np.ones((8, 1), np.float32)
    crossbar = Crossbar("converters", out_bound=0.001, bound_management="iterative")
    [conversion] = convert(x, w, crossbar, 0, transpose_weight=False)
    np.testing.assert_allclose(conversion.step, [[16 * 0.001 / 127]], rtol=1e-6)
    assert conversion.code == 127


def test_scale_per_tile() -> None:
    w = np.array([[1.0, 0.5, 0.25, 0.125]], np.float32)
    steps = [
        convert(
            np.ones((1, 1), np.float32),
            w,
            Crossbar("converters", scale_mode=mode, tile_columns=2),
            0,
            transpose_weight=False,
        )[0].step
        * 12.7
        for mode in ("column", "tile")
    ]
    np.testing.assert_allclose(steps[0], [[1, 0.5, 0.25, 0.125]], rtol=1e-6)
    np.testing.assert_allclose(steps[1], [[1, 1, 0.25, 0.25]], rtol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"scale_mode": "row"},
        {"bound_management": "max"},
        {"weight_noise": 0.1, "weight_noise_form": "pink"},
    ],
)
def test_unknown_words_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="known are"):
        analog_matmul(
            np.ones((1, 4), np.float32),
            np.ones((4, 2), np.float32),
            Crossbar("noisy", **settings),
            0,
            transpose_weight=False,
        )
