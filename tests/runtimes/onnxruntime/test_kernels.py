"""The kernels of AnalogMatMul and RequireLibrary against the NumPy reference."""

from __future__ import annotations

import json
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from equality import assert_adc_equal, assert_programmed_equal
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kernel_runs import NOISY, PCM_SIGMA, crossbar, open_kernel, run_matmul
from onnx import helper
from places import TESTS

from hetc.runtimes.reference import analog_matmul, convert, program, split

GOLDENS = json.loads((TESTS / "goldens.json").read_text())
TYPES = (np.float32, np.float16, ml_dtypes.bfloat16)
EPSILON = {np.float32: 2e-6, np.float16: 1e-3, ml_dtypes.bfloat16: 1e-2}


def matrices(rows: int, inputs: int, outputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x [rows, inputs] and w [outputs, inputs]."""
    random = np.random.default_rng(seed)
    x, w = random.normal(size=(rows, inputs)), random.normal(size=(outputs, inputs))
    return x.astype(np.float32), w.astype(np.float32)


@pytest.mark.parametrize(
    ("case", "out_bound"), [("8b8b_omega1_absmax_nobm", 10.0), ("tight_bound_none", 1.0)]
)
def test_golden_values_of_aihwkit(case: str, out_bound: float) -> None:
    x, w = np.array(GOLDENS["mvm_X"], np.float32), np.array(GOLDENS["mvm_W"], np.float32)
    y = run_matmul(x, w, {"mode": "converters", "out_bound": out_bound})
    np.testing.assert_allclose(y, np.array(GOLDENS["cases"][case]["aihwkit_cpp"]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("w_type", TYPES)
@pytest.mark.parametrize("x_type", TYPES)
@pytest.mark.parametrize("mode", ["exact", "converters", "noisy"])
def test_types_and_orientations(mode: str, x_type: Any, w_type: Any, transposed: int) -> None:
    x, w = matrices(5, 150, 37)
    x, w = x.astype(x_type), np.ascontiguousarray((w if transposed else w.T).astype(w_type))
    attributes = {**NOISY, "mode": mode, "transpose_weight": transposed, "tile_rows": 64}
    y = run_matmul(x, w, attributes, {"hetc.store": "float32"})
    if mode == "exact":
        expected = analog_matmul(x, w, crossbar(attributes), 3, transpose_weight=bool(transposed))
        scale = np.abs(x.astype(np.float32)).sum(1).max()
        np.testing.assert_allclose(y, expected.astype(np.float32), atol=EPSILON[x_type] * scale)
    else:
        conversions = convert(x, w, crossbar(attributes, "float32"), 3, transpose_weight=bool(transposed))
        assert_adc_equal(y, conversions, x_type)


@settings(max_examples=25, deadline=None)
@example(rows=14, inputs=4, outputs=3, tile_rows=5, dac_bits=2, adc_bits=0, seed=3271810553557273566)
@given(
    rows=st.integers(1, 20),
    inputs=st.integers(1, 700),
    outputs=st.integers(1, 150),
    tile_rows=st.integers(1, 800),
    dac_bits=st.sampled_from([0, 2, 5, 8, 16]),
    adc_bits=st.sampled_from([0, 2, 6, 8, 24]),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_shape_and_converter(
    rows: int, inputs: int, outputs: int, tile_rows: int, dac_bits: int, adc_bits: int, seed: int
) -> None:
    x, w = matrices(rows, inputs, outputs, seed % 1000)
    converters = {"tile_rows": tile_rows, "dac_bits": dac_bits, "adc_bits": adc_bits}
    attributes = {**NOISY, **converters, "seed": seed}
    y = run_matmul(x, w, attributes, {"hetc.store": "float32"}, threads=2)
    assert_adc_equal(y, convert(x, w, crossbar(attributes, "float32"), 3, transpose_weight=True))


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("mode", ["converters", "noisy"])
def test_calibrated_inputs(mode: str, per_column: bool) -> None:
    x, w = matrices(6, 100, 20)
    attributes = {**NOISY, "mode": mode, "tile_rows": 40}
    columns = 20 if per_column else 1
    random = np.random.default_rng(1)
    given_inputs = {
        "input_range": np.array([1.5, 2.0, 0.5], np.float32),
        "adc_bound": random.uniform(5, 20, (3, columns)).astype(np.float32),
        "weight_scale": random.uniform(1, 4, (3, columns)).astype(np.float32),
    }
    y = run_matmul(x, w, attributes, {"hetc.store": "float32"}, **given_inputs)
    reference = convert(x, w, crossbar(attributes, "float32"), 3, transpose_weight=True, **given_inputs)
    assert_adc_equal(y, reference)


@pytest.mark.parametrize("store", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("form", ["differential-pair", "gaussian"])
def test_programmed_weights(form: str, store: str) -> None:
    _, w = matrices(1, 130, 70)
    w[3] = 0
    w[:, 100:] *= 0.01
    noise = {**NOISY, "noise_form": form, "noise_scale": 2.0, "seed": 2**40 + 7, "tile_rows": 50}
    probe = {**noise, "dac_bits": 0, "adc_bits": 0}
    slices = len(split(130, 50))
    actual = run_matmul(
        np.eye(130, dtype=np.float32),
        w,
        probe,
        {"hetc.store": store},
        input_range=np.ones(slices, np.float32),
    )
    expected = program(w, crossbar(noise, store), 3, transpose_weight=True)
    assert_programmed_equal(actual, expected, store, rows=split(130, 50))
    assert not actual[:, 3].any()


def test_programmed_pair_has_the_statistics_of_a_rectified_pair() -> None:
    """Zero device: mean c s0 / sqrt(2 pi); target device g: a normal cut off at 0 (analytic values)."""
    for g in (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0):
        w = np.full((2048, 512), g, np.float32)
        attributes = {**NOISY, "dac_bits": 0, "adc_bits": 0, "tile_rows": 512}
        scales = {"input_range": np.ones(1, np.float32), "weight_scale": np.ones((1, 1), np.float32)}
        drawn = run_matmul(
            np.eye(512, dtype=np.float32), w, attributes, {"hetc.store": "float32"}, 2, **scales
        ).astype(np.float64)
        assert drawn.size >= 1_000_000
        mean, deviation = rectified_pair(g)
        assert drawn.mean() == pytest.approx(mean, abs=0.01 * max(abs(mean), deviation))
        assert drawn.std() == pytest.approx(deviation, rel=0.01)


def rectified_pair(g: float) -> tuple[float, float]:
    """Mean and standard deviation of max(0, N(g, s(g))) - max(0, N(0, s(0))), by numerical integration."""
    z = np.linspace(-8, 8, 200_001)
    weight = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    moments = []
    for target in (g, 0.0):
        sigma = sum(c * target**power for power, c in enumerate(PCM_SIGMA))
        device = np.maximum(0, target + sigma * z)
        mean = float((device * weight).sum())
        moments.append((mean, float(((device - mean) ** 2 * weight).sum())))
    return moments[0][0] - moments[1][0], float(np.sqrt(moments[0][1] + moments[1][1]))


def test_streams_and_seeds_are_independent() -> None:
    """The gaussian form: a pair's mean error depends on the weight, which both draws would share."""
    _, w = matrices(1, 512, 512)
    probe = {**NOISY, "noise_form": "gaussian", "dac_bits": 0, "adc_bits": 0}
    eye, ones = np.eye(512, dtype=np.float32), np.ones(1, np.float32)
    draws = [{"stream": 1}, {"stream": 2}, {"stream": 1, "seed": 1}, {"stream": 1, "seed": 2**32}]
    noise = [(run_matmul(eye, w, {**probe, **draw}, input_range=ones) - w.T).ravel() for draw in draws]
    correlation = np.corrcoef(noise) - np.eye(len(draws))
    assert np.abs(correlation).max() < 0.01


def test_a_bad_row_spoils_itself_only() -> None:
    x, w = matrices(4, 100, 30)
    clean = run_matmul(x, w, {**NOISY, "tile_rows": 40})
    x[1, 70], x[3, 5] = np.nan, -np.inf
    for config in ({}, {"hetc.mode": "converters"}):
        y = run_matmul(x, w, {**NOISY, "tile_rows": 40}, config)
        assert np.isnan(y[[1, 3]]).all()
        assert np.isfinite(y[[0, 2]]).all()
    np.testing.assert_array_equal(run_matmul(x, w, {**NOISY, "tile_rows": 40})[[0, 2]], clean[[0, 2]])


def test_zeros_and_tiny_values_give_zero() -> None:
    x, w = matrices(3, 64, 20)
    x[0], x[1] = 0, 1e-35
    w[4] = 0
    for config in ({}, {"hetc.mode": "converters"}):
        y = run_matmul(x, w, NOISY, config)
        assert not y[:2].any()
        assert not y[:, 4].any()
        assert y[2].any()


@pytest.mark.parametrize("shape", [(0, 40), (40,), (2, 0, 40), (2, 3, 40)])
@pytest.mark.parametrize("mode", ["exact", "noisy"])
def test_leading_dimensions(shape: tuple[int, ...], mode: str) -> None:
    _, w = matrices(1, 40, 7)
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    y = run_matmul(x, w, {**NOISY, "mode": mode})
    assert y.shape == (*shape[:-1], 7)
    rows = [run_matmul(row, w, {**NOISY, "mode": mode}) for row in x.reshape(-1, 40)]
    np.testing.assert_array_equal(y.reshape(-1, 7), np.array(rows, np.float32).reshape(-1, 7))


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, np.uint8, np.float16, np.float64])
def test_require_library_is_identity(dtype: Any) -> None:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("RequireLibrary", ["x"], ["y"], domain="hetc")],
        "graph",
        [helper.make_tensor_value_info("x", element, ["a", 3])],
        [helper.make_tensor_value_info("y", element, ["a", 3])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("hetc", 1)]
    model: onnx.ModelProto = helper.make_model(graph, ir_version=10, opset_imports=opsets)
    x = np.arange(6).reshape(2, 3).astype(dtype)
    session = open_kernel(model)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], x)
    assert session.run(None, {"x": x[:0]})[0].shape == (0, 3)
