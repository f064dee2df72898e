"""Devices, time, and what every product adds: the kernels against the NumPy reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from equality import assert_adc_equal, assert_programmed_equal
from kernel_runs import MATMUL, NOISY, crossbar, device, open_kernel, run_kernel, run_matmul
from single_node import single_node_model

from hetc.hardware.noise_models import NOISE_MODELS
from hetc.runtimes.reference import analog_expert, convert, program, split

DEVICES = [name for name in NOISE_MODELS if name != "none"]
DRIFTING = ("pcm", "hermes", "hermes_single")
FLOAT32 = {"hetc.store": "float32"}
PROBE = {"dac_bits": 0, "adc_bits": 0}

PRODUCTS: dict[str, dict[str, Any]] = {
    "output": {"output_noise": 0.04},
    "additive": {"weight_noise": 0.02, "weight_noise_form": "additive"},
    "pcm-read": {"weight_noise": 0.0175, "weight_noise_form": "pcm-read"},
    "ir-drop": {"ir_drop": 1.0},
    "stochastic": {"dac_rounding": "stochastic"},
    "bounds": {"bound_management": "iterative", "out_bound": 0.5},
    "tile-scale": {"scale_mode": "tile", "tile_columns": 24},
    "all": {
        "output_noise": 0.04,
        "weight_noise": 0.0175,
        "weight_noise_form": "pcm-read",
        "ir_drop": 1.0,
        "dac_rounding": "stochastic",
        "bound_management": "iterative",
        "out_bound": 1.0,
        "scale_mode": "tile",
        "tile_columns": 24,
        "read_seed": 9,
    },
}


def matrices(rows: int, inputs: int, outputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x [rows, inputs] and w [outputs, inputs]."""
    random = np.random.default_rng(seed)
    x, w = random.normal(size=(rows, inputs)), random.normal(size=(outputs, inputs))
    return x.astype(np.float32), w.astype(np.float32)


def check_programmed(attributes: dict[str, Any], store: str = "float32") -> np.ndarray:
    """Hold what the kernel programs against the reference; returns it."""
    _, w = matrices(1, 130, 70)
    w[3] = 0
    attributes = {**attributes, "tile_rows": 50, "seed": 2**40 + 7}
    ones = np.ones(len(split(130, 50)), np.float32)
    eye = np.eye(130, dtype=np.float32)
    actual = run_matmul(eye, w, {**attributes, **PROBE}, {"hetc.store": store}, input_range=ones)
    expected = program(w, crossbar(attributes, store), 3, transpose_weight=True)
    assert_programmed_equal(actual, expected, store, rows=split(130, 50))
    return actual


@pytest.mark.parametrize("name", DEVICES)
def test_programmed_devices(name: str) -> None:
    check_programmed({**device(name), "noise_scale": 1.5})


def test_hardware_floor_is_exactly_zero() -> None:
    w = np.array([[1.0, 0.0033, -0.003, 0.004]], np.float32)
    got = run_matmul(np.eye(4, dtype=np.float32), w, {**device("afm"), **PROBE}, FLOAT32)
    np.testing.assert_array_equal(got[:, 0] == 0, [False, True, True, False])


@pytest.mark.parametrize("time", [0.0, 1.0, 86400.0, 172800.0])
def test_measured_times(time: float) -> None:
    check_programmed({**device("reram_wan2022"), "drift_time": time})


@pytest.mark.parametrize("store", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("flicker", [0.0, 1.0])
@pytest.mark.parametrize("name", DRIFTING)
def test_drift_and_flicker(name: str, flicker: float, store: str) -> None:
    attributes = {**device(name), "drift_time": 86400.0, "flicker_noise": flicker, "read_seed": 5}
    check_programmed(attributes, store)


def test_flicker_without_drift_and_without_programming_noise() -> None:
    check_programmed({**device("pcm"), "flicker_noise": 1.0})
    check_programmed({**device("pcm"), "noise_scale": 0.0, "drift_time": 3600.0})


def test_session_entries_of_time_and_reading() -> None:
    x, w = matrices(4, 100, 30)
    attributes = {**device("pcm"), "flicker_noise": 1.0}
    late = run_matmul(x, w, {**attributes, "drift_time": 3600.0, "read_seed": 4})
    by_entries = run_matmul(x, w, attributes, {"hetc.drift_time": "3600", "hetc.read_seed": "4"})
    np.testing.assert_array_equal(late, by_entries)
    for other in ({"hetc.drift_time": "9e5"}, {"hetc.read_seed": "5"}):
        config = {"hetc.drift_time": "3600", "hetc.read_seed": "4", **other}
        assert not np.array_equal(run_matmul(x, w, attributes, config), late)


@pytest.mark.parametrize("compensation", ["none", "global", "column"])
@pytest.mark.parametrize("adc_bits", [0, 8])
def test_drift_compensation(compensation: str, adc_bits: int) -> None:
    x, w = matrices(6, 100, 50)
    attributes = {**device("pcm"), "drift_time": 1e6, "drift_compensation": compensation}
    attributes |= {"tile_rows": 40, "tile_columns": 24, "adc_bits": adc_bits, "flicker_noise": 1.0}
    y = run_matmul(x, w, attributes, FLOAT32)
    assert_adc_equal(y, convert(x, w, crossbar(attributes, "float32"), 3, transpose_weight=True))
    ratio = float((y * (x @ w.T)).sum() / ((x @ w.T) ** 2).sum())
    assert (ratio > 0.9) == (compensation != "none")


@pytest.mark.parametrize("adc_bits", [0, 8])
@pytest.mark.parametrize("mode", ["converters", "noisy"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str, mode: str, adc_bits: int) -> None:
    x, w = matrices(7, 150, 90)
    w[5] = 0
    x[2] = 0
    x[3, 40] = np.inf
    for form in ("none", "differential-pair"):
        attributes = {**NOISY, **PRODUCTS[name], "mode": mode, "noise_form": form, "tile_rows": 64}
        attributes["adc_bits"] = adc_bits
        y = run_matmul(x, w, attributes, FLOAT32, threads=2)
        assert_adc_equal(y, convert(x, w, crossbar(attributes, "float32"), 3, transpose_weight=True))


@pytest.mark.parametrize("store", ["bfloat16", "int8"])
@pytest.mark.parametrize("rows", [1, 40])
def test_products_with_narrow_stores(store: str, rows: int) -> None:
    x, w = matrices(rows, 300, 70)
    attributes = {**NOISY, **PRODUCTS["all"], "tile_rows": 128}
    y = run_matmul(x, w, attributes, {"hetc.store": store})
    expected = np.zeros_like(y)
    for part in convert(x, w, crossbar(attributes, store), 3, transpose_weight=True):
        expected = expected + part.code * part.step
    assert (np.abs(y - expected) > 1e-4 * np.abs(expected).max()).mean() < 0.01


@pytest.mark.parametrize("name", PRODUCTS)
def test_batches_orders_and_threads_change_no_bit(name: str) -> None:
    x, w = matrices(150, 130, 100)
    attributes = {**MATMUL, **NOISY, **PRODUCTS[name], "tile_rows": 64}
    model = single_node_model("AnalogMatMul", x, {"w": w}, attributes)
    together = run_kernel(model, x)
    session = open_kernel(model, threads=2)
    parts = [session.run(None, {"x": x[start : start + 11]})[0] for start in range(0, len(x), 11)]
    np.testing.assert_array_equal(np.concatenate(parts), together)
    np.testing.assert_array_equal(session.run(None, {"x": x[::-1]})[0], together[::-1])


def test_another_reading_draws_again_and_another_stream_too() -> None:
    x, w = matrices(64, 64, 256)
    quiet = run_matmul(x, w, {"mode": "converters", **PROBE})
    noisy = {"mode": "noisy", "noise_form": "none", "output_noise": 0.04, **PROBE}
    draws = [
        (run_matmul(x, w, {**noisy, "stream": stream}, {"hetc.read_seed": seed}) - quiet).ravel()
        for stream, seed in ((3, "0"), (3, "1"), (4, "0"))
    ]
    assert np.abs(np.corrcoef(draws) - np.eye(3)).max() < 0.03


def test_output_noise_has_its_spread() -> None:
    x, w = matrices(2048, 64, 512)
    attributes = {"mode": "noisy", "noise_form": "none", "output_noise": 0.04, **PROBE}
    ones = {"input_range": np.full(1, 2.0, np.float32), "weight_scale": np.full((1, 1), 3.0, np.float32)}
    noisy = run_matmul(x, w, attributes, threads=2, **ones).astype(np.float64)
    noise = noisy - run_matmul(x, w, {"mode": "converters", **PROBE}, threads=2, **ones)
    assert noise.size >= 1_000_000
    assert abs(noise.std() / (0.04 * 2 * 3) - 1) < 0.01
    assert abs(noise.mean()) < 0.005 * noise.std()


def test_an_expert_with_everything() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(9, 96)).astype(np.float32)
    gate, up = (random.normal(size=(70, 96)).astype(np.float32) for _ in range(2))
    down = random.normal(size=(96, 70)).astype(np.float32)
    streams = {"gate_stream": 2, "up_stream": 5, "down_stream": 1, "activation": "silu"}
    shared = {name: value for name, value in MATMUL.items() if name != "stream"}
    attributes = {**shared, **NOISY, **PRODUCTS["all"], **streams, "tile_rows": 40}
    model = single_node_model("AnalogExpert", x, {"gate": gate, "up": up, "down": down}, attributes)
    y = run_kernel(model, x, FLOAT32)
    expected = analog_expert(
        x, gate, up, down, crossbar(attributes, "float32"), (2, 5, 1), "silu", transpose_weight=True
    )
    # A code of the second product that flips draws other noise for its whole vector.
    wrong = (np.abs(y - expected) > 1e-4 * np.abs(expected).max()).any(axis=1)
    assert wrong.mean() <= 0.25
