"""Device models against the tables of aihwkit, and what time does to a programmed pair."""

from __future__ import annotations

import json
from math import sqrt
from typing import Any

import numpy as np
import pytest
from places import TESTS
from test_noise import rectified

from hetc.base.errors import InvalidInputError
from hetc.hardware.noise_models import NOISE_MODELS
from hetc.runtimes.reference import Crossbar, curve, program, sigma
from hetc.runtimes.reference.aging import add_flicker, drift

GOLDENS = json.loads((TESTS / "goldens.json").read_text())
R = np.array(GOLDENS["x_rel"], np.float32)
ONES = np.ones((1, 1), np.float32)
# docs/analog-models.md: sigma / w_max in % at c = 1
PUBLISHED_R = (0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1)
PUBLISHED = {
    "pcm": (1.05, 1.44, 1.79, 2.44, 2.99, 3.81, 4.31, 4.22),
    "afm": (None, 2.40, 3.10, 4.00, 4.66, 4.69, 5.49, 10.67),
    "hermes": (0.80, 1.84, 2.69, 3.90, 4.56, 4.79, 4.41, 5.28),
    "hermes_single": (1.52, 2.60, 3.57, 5.23, 6.56, 8.36, 9.42, 9.73),
}


def device(name: str, **changes: Any) -> Crossbar:
    model = NOISE_MODELS[name]
    return Crossbar(
        **{
            "mode": "noisy",
            "noise_form": model.form,
            "noise_sigma": model.sigma,
            "noise_sigma_breaks": model.sigma_breaks,
            "noise_times": model.times,
            "noise_floor": model.floor,
            "noise_offset": model.offset,
            "drift_reference": model.drift_reference,
            "drift_mean": model.drift_mean,
            "drift_deviation": model.drift_deviation,
            "flicker_deviation": model.flicker_deviation,
            "flicker_read_time": model.flicker_read_time,
            "store": "float32",
            **changes,
        }
    )


def drawn(value: float, crossbar: Crossbar, seed: int = 0) -> np.ndarray:
    """262,144 weights programmed to one value: the error of their deviation is 0.14 %."""
    w = np.full((128, 2048), value, np.float32)
    return program(w, crossbar, seed, transpose_weight=False, weight_scale=ONES).astype(np.float64)


@pytest.mark.parametrize("name", PUBLISHED)
def test_sigma_is_as_published(name: str) -> None:
    model = NOISE_MODELS[name]
    got = 100 * sigma(np.array(PUBLISHED_R, np.float32), model.sigma, model.sigma_breaks)
    for value, expected in zip(got, PUBLISHED[name], strict=True):
        assert expected is None or abs(value - expected) <= 0.0051


@pytest.mark.parametrize(("name", "table"), [("pcm", "pcm_nu"), ("hermes", "hermes2_nu")])
def test_drift_exponents_are_aihwkits(name: str, table: str) -> None:
    model = NOISE_MODELS[name]
    np.testing.assert_allclose(curve(R, model.drift_mean), GOLDENS[f"{table}_mu"], rtol=2e-6)
    np.testing.assert_allclose(curve(R, model.drift_deviation), GOLDENS[f"{table}_sig"], rtol=2e-6)


@pytest.mark.parametrize(
    ("name", "g_max", "table", "time"),
    [("pcm", 25.0, "pcm", time) for time in ("0", "1", "3600", "86400", "3.1536e+07")]
    + [("hermes", 20.7, "hermes2", "3600")],
)
def test_drift_and_reading_are_aihwkits(name: str, g_max: float, table: str, time: str) -> None:
    """The tables are for an exponent of 0.05 without spread."""
    fixed = {"drift_mean": (0.0, 0.05, 0.05, *[0.0] * 7), "drift_deviation": (0.0,) * 10}
    crossbar = device(name, drift_time=float(time), flicker_noise=1.0, **fixed)
    drifted = drift(R, R, np.zeros_like(R), crossbar)
    np.testing.assert_allclose(drifted * g_max, GOLDENS[f"{table}_drift_nu0.05_t{time}"], rtol=1e-6)
    spread = add_flicker(drifted, R, np.ones_like(R), crossbar) - drifted
    expected = GOLDENS[f"{table}_readsig_nu0.05_t{time}"]
    np.testing.assert_allclose(spread * g_max, expected, rtol=5e-6, atol=1e-6)


@pytest.mark.parametrize("r", [0.02, 0.3, 1.0])
def test_afm_is_signed_and_unbiased(r: float) -> None:
    model = NOISE_MODELS["afm"]
    expected = float(sigma(np.array([r], np.float32), model.sigma, model.sigma_breaks)[0])
    for sign in (1, -1):
        noise = drawn(sign * r, device("afm")) - np.float32(sign * r)
        assert abs(noise.std() / expected - 1) < 0.01
        assert abs(noise.mean()) < 0.01 * expected
    assert not drawn(0.6 / 180 * 0.99, device("afm")).any()


def test_multiplicative_noise_is_that_share_of_the_weight() -> None:
    got = drawn(0.3, device("multiplicative", noise_scale=2.0))
    assert abs(got.std() / (0.3 * 2 * 0.025) - 1) < 0.01
    assert not drawn(0.0, device("multiplicative")).any()


@pytest.mark.parametrize("name", ["hermes", "hermes_single", "reram_wan2022"])
@pytest.mark.parametrize("r", [0.0, 0.1, 0.75])
def test_pairs_have_the_moments_of_the_rectified_pair(name: str, r: float) -> None:
    crossbar = device(name)
    devices = [rectified(g, float(sigma(np.array([g], np.float32), crossbar.sigma)[0])) for g in (r, 0.0)]
    deviation = sqrt(devices[0][1] + devices[1][1])
    got = drawn(r, crossbar)
    assert abs(got.std() / deviation - 1) < 0.01
    assert abs(got.mean() - (devices[0][0] - devices[1][0])) < 0.01 * (r or deviation)


@pytest.mark.parametrize("name", ["reram_cmo", "reram_cmo_fine"])
def test_devices_above_zero_are_never_cut_off(name: str) -> None:
    """Both devices are normal: sigma = a + b g in uS, g between 9 and 88.2."""
    a, b = {"reram_cmo": (0.0112185391, 0.01129027418), "reram_cmo_fine": (0.00081107, 0.00106879)}[name]
    got = drawn(0.5, device(name))
    expected = sqrt((a + b * (9 + 0.5 * 79.2)) ** 2 + (a + b * 9) ** 2) / 79.2
    assert abs(got.std() / expected - 1) < 0.01
    assert abs(got.mean() - 0.5) < 0.01 * expected


def test_measured_times_have_their_own_polynomials() -> None:
    r = np.array([0.5], np.float32)
    powers = 0.5 ** np.arange(5)
    for time, coefficients in {
        0.0: (0.348, 16.030, -43.853, 45.393, -16.815),
        86400.0: (0.701, 22.086, -50.773, 47.095, -16.458),
        172800.0: (0.782, 20.274, -43.507, 37.062, -11.934),
    }.items():
        got = sigma(r, device("reram_wan2022", drift_time=time).sigma)
        np.testing.assert_allclose(got, powers @ np.array(coefficients) / 25, rtol=1e-5)


@pytest.mark.parametrize("name", ["afm", "gaussian", "multiplicative", "reram_wan2022", "reram_cmo"])
def test_a_time_that_is_not_known_is_an_error(name: str) -> None:
    with pytest.raises(InvalidInputError, match="no drift is known"):
        device(name, drift_time=3600.0)
    assert not NOISE_MODELS[name].has_time(3600.0)


@pytest.mark.parametrize("compensation", ["none", "global", "column"])
def test_drift_has_its_mean_and_spread(compensation: str) -> None:
    """Without programming noise log(g) is normal around -mu ln(t / t0), the other device stays at 0."""
    crossbar = device("pcm", noise_scale=0.0, drift_time=1e6, drift_compensation=compensation)
    exponents = -np.log(drawn(0.5, crossbar) / 0.5) / np.log((1e6 + 20) / 20)
    assert abs(exponents.mean() / 0.049 - 1) < 0.01
    assert abs(exponents.std() / 0.008 - 1) < 0.01


def test_a_reading_is_frozen_and_another_seed_reads_again() -> None:
    crossbar = device("pcm", noise_scale=0.0, flicker_noise=1.0)
    first = drawn(1.0, crossbar)
    np.testing.assert_array_equal(first, drawn(1.0, crossbar))
    assert abs(first.std() / (GOLDENS["pcm_readsig_nu0.05_t0"][-1] / 25) - 1) < 0.01
    second = drawn(1.0, device("pcm", noise_scale=0.0, flicker_noise=1.0, read_seed=1))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.01
