"""The helper that judges agreement accepts what the specification allows, and nothing else."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from equality import assert_adc_equal, assert_mostly_equal, assert_programmed_equal

from hetc.runtimes.reference import Conversion, Crossbar, convert, program


def conversion(values: list[float]) -> Conversion:
    value = np.array([values], np.float32)
    return Conversion(value, np.full_like(value, 0.1), 127.0, np.abs(value), np.zeros_like(value))


def test_a_code_may_differ_by_one_next_to_a_half_step_only() -> None:
    close, far = conversion([3.4995, 3.0]), conversion([3.498, 3.0])
    for codes in ([3, 3], [4, 3]):
        assert_adc_equal(np.array([codes]) * 0.1, [close])
    assert_adc_equal(np.array([[0.3, 0.3]]), [far])
    for codes in ([4, 3], [2, 3], [3, 4]):
        with pytest.raises(AssertionError, match="1 of 2 outputs"):
            assert_adc_equal(np.array([codes]) * 0.1, [far])


def test_clipped_codes_are_held_to_the_limit() -> None:
    assert_adc_equal(np.array([[12.7]]), [conversion([500.5])])
    with pytest.raises(AssertionError, match="ADC code"):
        assert_adc_equal(np.array([[12.8]]), [conversion([500.5])])


def test_a_row_is_nan_in_both_or_in_neither() -> None:
    spoiled = conversion([np.nan, np.nan])
    assert_adc_equal(np.full((1, 2), np.nan), [spoiled])
    for actual, expected in ((np.zeros((1, 2)), spoiled), (np.full((1, 2), np.nan), conversion([0.0, 0.0]))):
        with pytest.raises(AssertionError, match="NaN"):
            assert_adc_equal(actual, [expected])


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_one_step_too_many_is_seen_in_every_type(dtype: Any) -> None:
    random = np.random.default_rng(0)
    x, w = random.normal(size=(3, 20)).astype(np.float32), random.normal(size=(20, 4)).astype(np.float32)
    conversions = convert(x, w, Crossbar("converters", tile_rows=10), 0, transpose_weight=False)
    y = np.sum([part.code * part.step for part in conversions], axis=0)
    assert_adc_equal(y.astype(dtype), conversions, dtype)
    y[1, 2] += conversions[0].step[1, 2]
    with pytest.raises(AssertionError, match="1 of 12 outputs"):
        assert_adc_equal(y.astype(dtype), conversions, dtype)


@pytest.mark.parametrize("store", ["float32", "bfloat16", "int8"])
def test_programmed_weights_of_another_stream_differ(store: str) -> None:
    w = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    crossbar = Crossbar("noisy", noise_form="gaussian", noise_sigma=(0.03,), store=store)
    first, second = (program(w, crossbar, stream, transpose_weight=False) for stream in (0, 1))
    assert_programmed_equal(first, first, store, rows=[slice(0, 64)])
    with pytest.raises(AssertionError):
        assert_programmed_equal(second, first, store, rows=[slice(0, 64)])


def test_mostly_equal_bounds_share_and_size() -> None:
    expected = np.linspace(-1, 1, 1000)
    one_flip = expected.copy()
    one_flip[3] += 0.01
    assert_mostly_equal(one_flip, expected)
    with pytest.raises(AssertionError, match="largest output"):
        assert_mostly_equal(one_flip * 1.2, expected)
    with pytest.raises(AssertionError, match="of the outputs differ"):
        assert_mostly_equal(expected * 1.001, expected)
