"""The reference of `AnalogMatMul` against golden values and against its own rules."""

from __future__ import annotations

import itertools
import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from equality import assert_adc_equal
from hypothesis import given, settings
from hypothesis import strategies as st
from places import TESTS

from hetc.base.errors import InvalidInputError
from hetc.runtimes.reference import Crossbar, analog_matmul, convert, split

GOLDENS = json.loads((TESTS / "goldens.json").read_text())
NOISE: dict[str, Any] = {"noise_form": "differential-pair", "noise_sigma": (0.01, 0.08, -0.05), "seed": 3}


def matrices(rows: int, inputs: int, outputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x, w = random.normal(size=(rows, inputs)), random.normal(size=(inputs, outputs))
    return x.astype(np.float32), w.astype(np.float32)


@pytest.mark.parametrize(
    ("case", "dac_bits", "adc_bits", "out_bound"),
    [
        ("default_io_noiseless_omega1_col", 7, 9, 12.0),
        ("8b8b_omega1_absmax_nobm", 8, 8, 10.0),
        ("tight_bound_none", 8, 8, 1.0),
    ],
)
def test_golden_values(case: str, dac_bits: int, adc_bits: int, out_bound: float) -> None:
    x, w = (np.array(GOLDENS[name], np.float32) for name in ("mvm_X", "mvm_W"))
    crossbar = Crossbar("converters", dac_bits=dac_bits, adc_bits=adc_bits, out_bound=out_bound)
    y = analog_matmul(x, w, crossbar, 0, transpose_weight=True)
    np.testing.assert_allclose(y, GOLDENS["cases"][case]["aihwkit_cpp"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows", [2048, 5504])
def test_golden_splits(rows: int) -> None:
    sizes = [part.stop - part.start for part in split(rows, 512)]
    assert sizes == GOLDENS[f"split_{rows}_512"]


@given(st.integers(1, 5000), st.integers(1, 700))
def test_slices_are_few_balanced_and_cover_every_row_once(rows: int, tile_rows: int) -> None:
    parts = split(rows, tile_rows)
    sizes = [part.stop - part.start for part in parts]
    assert parts[0].start == 0 and parts[-1].stop == rows
    assert all(left.stop == right.start for left, right in itertools.pairwise(parts))
    assert max(sizes) <= tile_rows and max(sizes) - min(sizes) <= 1
    assert len(parts) == -(-rows // tile_rows)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(0, 4),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 9),
    tile_rows=st.integers(1, 48),
    dac_bits=st.sampled_from([0, 2, 5, 8, 16]),
    adc_bits=st.sampled_from([0, 2, 8, 24]),
    seed=st.integers(0, 100),
)
def test_every_code_is_a_level_and_every_slice_is_close_to_the_product(
    rows: int, inputs: int, outputs: int, tile_rows: int, dac_bits: int, adc_bits: int, seed: int
) -> None:
    x, w = matrices(rows, inputs, outputs, seed)
    crossbar = Crossbar(
        "converters", tile_rows=tile_rows, dac_bits=dac_bits, adc_bits=adc_bits, out_bound=64.0
    )
    conversions = convert(x, w, crossbar, 0, transpose_weight=False)
    for part, conversion in zip(split(inputs, tile_rows), conversions, strict=True):
        largest = np.abs(x[:, part]).max(axis=1, keepdims=True, initial=0)
        dac_error = largest / 2 / (2 ** (dac_bits - 1) - 1) if dac_bits else 0
        bound = dac_error * np.abs(w[part]).sum(axis=0) + conversion.step * (0.5 if adc_bits else 0)
        error = np.abs(conversion.code * conversion.step - x[:, part] @ w[part])
        assert np.all(error <= bound + 1e-5 * np.abs(x[:, part]) @ np.abs(w[part]) + 1e-6)
        if adc_bits:
            assert np.all(np.abs(conversion.code) <= 2 ** (adc_bits - 1) - 1)
            np.testing.assert_array_equal(conversion.code, np.rint(conversion.code))
    assert_adc_equal(analog_matmul(x, w, crossbar, 0, transpose_weight=False), conversions)


def test_without_converters_the_product_is_plain() -> None:
    x, w = matrices(5, 70, 11)
    crossbar = Crossbar("converters", tile_rows=16, dac_bits=0, adc_bits=0)
    np.testing.assert_allclose(
        analog_matmul(x, w, crossbar, 0, transpose_weight=False), x @ w, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        analog_matmul(x, w, Crossbar("exact"), 0, transpose_weight=False), x @ w, rtol=1e-5, atol=1e-5
    )


def test_a_tight_bound_clips() -> None:
    x, w = np.ones((1, 8), np.float32), np.ones((8, 1), np.float32)
    crossbar = Crossbar("converters", out_bound=3.0)
    np.testing.assert_allclose(analog_matmul(x, w, crossbar, 0, transpose_weight=False), [[3.0]])


def test_given_ranges_bounds_and_scales_equal_to_the_dynamic_ones_change_nothing() -> None:
    x, w = matrices(1, 50, 6)
    for mode in ("converters", "noisy"):
        crossbar = Crossbar(mode, tile_rows=16, **NOISE)
        parts = split(50, 16)
        scale = np.stack([np.abs(w[part]).max(axis=0) for part in parts])
        given_values = analog_matmul(
            x,
            w,
            crossbar,
            1,
            transpose_weight=False,
            input_range=np.array([np.abs(x[:, part]).max() for part in parts], np.float32),
            adc_bound=np.float32(10) * scale,
            weight_scale=scale,
        )
        np.testing.assert_array_equal(given_values, analog_matmul(x, w, crossbar, 1, transpose_weight=False))


def test_a_given_range_clips_the_input_and_one_column_broadcasts() -> None:
    x = np.array([[0.5, 4.0]], np.float32)
    w = np.array([[1.0, 0.5], [1.0, 0.25]], np.float32)
    y = analog_matmul(
        x,
        w,
        Crossbar("converters", dac_bits=0, adc_bits=24),
        0,
        transpose_weight=False,
        input_range=np.array([2.0], np.float32),
        adc_bound=np.array([[4.0]], np.float32),
    )
    np.testing.assert_allclose(y, [[2.5, 0.75]], atol=1e-5)


def test_a_zero_slice_contributes_nothing() -> None:
    x, w = matrices(3, 32, 4)
    x[1] = 0
    x[2, 16:] = 1e-31
    for bits in (0, 8):
        crossbar = Crossbar("converters", tile_rows=16, adc_bits=bits)
        y = analog_matmul(x, w, crossbar, 0, transpose_weight=False)
        np.testing.assert_array_equal(y[1], 0)
        first = analog_matmul(x[2:, :16], w[:16], crossbar, 0, transpose_weight=False)
        np.testing.assert_array_equal(y[2:], first)


def test_a_zero_column_contributes_nothing() -> None:
    x, w = matrices(3, 32, 4)
    w[:, 2] = 0
    for mode in ("converters", "noisy"):
        y = analog_matmul(x, w, Crossbar(mode, **NOISE), 0, transpose_weight=False)
        np.testing.assert_array_equal(y[:, 2], 0)
        assert np.isfinite(y).all() and (y[:, 0] != 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("fixed_range", [False, True])
def test_a_value_that_is_not_finite_spoils_its_own_row_only(bad: float, fixed_range: bool) -> None:
    x, w = matrices(3, 32, 4)
    spoiled = x.copy()
    spoiled[1, 20] = bad
    crossbar = Crossbar("converters", tile_rows=16)
    ranges = np.full(2, 2.0, np.float32) if fixed_range else None
    clean, y = (
        analog_matmul(values, w, crossbar, 0, transpose_weight=False, input_range=ranges)
        for values in (x, spoiled)
    )
    assert np.isnan(y[1]).all()
    np.testing.assert_array_equal(y[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("mode", ["converters", "noisy"])
def test_a_row_does_not_depend_on_the_batch(mode: str) -> None:
    x, w = matrices(9, 40, 7)
    crossbar = Crossbar(mode, tile_rows=16, **NOISE)
    together = analog_matmul(x.reshape(3, 3, 40), w, crossbar, 2, transpose_weight=False)
    alone = [analog_matmul(row[None], w, crossbar, 2, transpose_weight=False) for row in x]
    np.testing.assert_array_equal(together.reshape(9, 7), np.concatenate(alone))


@pytest.mark.parametrize("x_type", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("w_type", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_types_are_widened_and_the_result_has_the_type_of_x(x_type: Any, w_type: Any) -> None:
    x, w = matrices(2, 20, 5)
    x, w = x.astype(x_type), w.astype(w_type)
    for mode in ("exact", "converters", "noisy"):
        crossbar = Crossbar(mode, **NOISE)
        y = analog_matmul(x, w, crossbar, 0, transpose_weight=False)
        wide = analog_matmul(x.astype(np.float32), w.astype(np.float32), crossbar, 0, transpose_weight=False)
        assert y.dtype == x_type
        np.testing.assert_array_equal(y, wide.astype(x_type))


def test_no_rows() -> None:
    _, w = matrices(1, 20, 5)
    for mode in ("exact", "converters", "noisy"):
        y = analog_matmul(
            np.zeros((2, 0, 20), np.float32), w, Crossbar(mode, **NOISE), 0, transpose_weight=False
        )
        assert y.shape == (2, 0, 5)


def test_an_unknown_mode_is_refused() -> None:
    x, w = matrices(1, 2, 2)
    with pytest.raises(InvalidInputError, match="mode is 'ideal'"):
        analog_matmul(x, w, Crossbar("ideal"), 0, transpose_weight=False)
