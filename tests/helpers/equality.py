"""What "equal" means between two implementations of the analog operators (docs/operators.md, Agreement)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetc.runtimes.reference import Conversion

__all__ = ["assert_adc_equal", "assert_mostly_equal", "assert_programmed_equal"]

FLOAT32_EPSILON = 2.0**-23
HALF_STEP_MARGIN = 1e-3


def assert_adc_equal(
    actual: NDArray[Any], conversions: Sequence[Conversion], dtype: Any = np.float32
) -> None:
    """Assert that every ADC code behind ``actual`` is the reference's.

    A code may be off by one only where the reference's value before the ADC lies within 1e-3 step (or the
    error of its float32 sum and weights, where that is larger) of a half step: between the codes of
    value - margin and value + margin.

    Args:
        actual: ``[..., N]``, the output of the implementation under test.
        conversions: from ``hetc.runtimes.reference.convert`` with the same arguments.
        dtype: type of the operator's output, if it isn't float32.
    """
    lowest = highest = slack = np.zeros((), np.float64)
    for conversion in conversions:
        rounding = 4 * FLOAT32_EPSILON * conversion.magnitude.astype(np.float64)
        if np.isinf(conversion.limit):
            below, above = conversion.value - rounding, conversion.value + rounding
        else:
            margin = np.maximum(HALF_STEP_MARGIN, rounding)
            below, above = (
                np.clip(np.rint(conversion.value + side), -conversion.limit, conversion.limit)
                for side in (-margin, margin)
            )
        lowest = lowest + below * conversion.step
        highest = highest + above * conversion.step
        share = 4 * FLOAT32_EPSILON + conversion.step_error.astype(np.float64)
        slack = slack + np.maximum(np.abs(below), np.abs(above)) * conversion.step * share
    lowest, highest = lowest - slack, highest + slack
    if dtype != np.float32:
        lowest, highest = (
            bound.astype(np.float32).astype(dtype).astype(np.float64) for bound in (lowest, highest)
        )
    flat = np.asarray(actual).astype(np.float64).reshape(lowest.shape)
    spoiled = np.isnan(lowest)
    np.testing.assert_array_equal(np.isnan(flat), spoiled, err_msg="rows that are NaN")
    wrong = ~spoiled & ((flat < lowest) | (flat > highest))
    assert not wrong.any(), (
        f"{wrong.sum()} of {wrong.size} outputs have an ADC code that no rounding explains; first at "
        f"{np.argwhere(wrong)[0]}: {flat[wrong][0]} not in [{lowest[wrong][0]}, {highest[wrong][0]}]"
    )


def assert_programmed_equal(
    actual: NDArray[Any], expected: NDArray[np.float32], store: str, *, rows: Sequence[slice]
) -> None:
    """Assert that two arrays of programmed weights ``[K, N]`` agree.

    Store ``float32``: within 1e-6 of the column slice's largest. ``bfloat16`` and ``int8`` round, so that a
    neighbouring value is possible where g lies at the middle between two: allowed for 1 weight in 1,000.

    Args:
        actual: weights of the implementation under test.
        expected: ``hetc.runtimes.reference.program`` of the same matrix.
        store: the store of both.
        rows: the K-slices.
    """
    for part in rows:
        largest = np.abs(expected[part]).max(axis=0)
        difference = np.abs(actual[part].astype(np.float64) - expected[part])
        flipped = difference > 1e-6 * largest
        if store == "float32":
            assert not flipped.any(), f"{flipped.sum()} weights differ by up to {difference.max()}"
            continue
        neighbour = np.abs(expected[part]) * 2.0**-7 if store == "bfloat16" else largest / 127
        assert np.all(difference <= neighbour * 1.01 + 1e-6 * largest), (
            "weights differ by more than one value"
        )
        assert flipped.mean() <= 1e-3, f"{flipped.mean():.2e} of the weights differ by one value of the store"


def assert_mostly_equal(
    actual: NDArray[Any], expected: NDArray[Any], *, share: float = 1e-2, worst: float = 5e-2
) -> None:
    """Assert agreement of whole experts, where a flip of one code moves the codes that follow it.

    Args:
        actual, expected: of one shape.
        share: of the outputs that may differ by more than 1e-5 of the largest.
        worst: largest difference, relative to the largest output.
    """
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected), err_msg="rows that are NaN")
    if not expected.size:
        return
    difference = np.nan_to_num(np.abs(actual - expected)) / max(np.nan_to_num(np.abs(expected)).max(), 1e-30)
    assert difference.max() <= worst, f"differs by {difference.max():.2e} of the largest output"
    assert (difference > 1e-5).mean() <= share, f"{(difference > 1e-5).mean():.2e} of the outputs differ"
