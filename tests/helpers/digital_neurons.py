"""Nodes with digital neurons, and what their outputs are held against."""

from __future__ import annotations

from typing import Any

import numpy as np
from equality import assert_adc_equal
from numpy.typing import NDArray

from hetc.runtimes.reference import Conversion, Crossbar, convert

__all__ = ["assert_neurons_equal", "rank_neurons"]

Mask = NDArray[np.bool_]


def rank_neurons(**digital: Mask) -> tuple[dict[str, NDArray[np.int32]], dict[str, Any]]:
    """Ranks by input, and the attributes that go with them, which make exactly these neurons digital.

    Args:
        **digital: name of an input of ranks -> bool of each neuron.
    """
    chosen = np.concatenate(list(digital.values()))
    order = np.argsort(~chosen, kind="stable")
    ranks = np.empty(len(chosen), np.int32)
    ranks[order] = np.arange(len(chosen))
    ends = np.cumsum([len(part) for part in digital.values()])
    inputs = dict(zip(digital, np.split(ranks, ends[:-1]), strict=True))
    count = int(chosen.sum())
    return inputs, {"rank": len(chosen) - 1, "group_size": len(chosen), "digital_count": count}


def assert_neurons_equal(
    y: NDArray[Any],
    x: NDArray[np.float32],
    w: NDArray[Any],
    crossbar: Crossbar,
    digital_inputs: Mask,
    digital_outputs: Mask,
    *,
    transpose_weight: bool = True,
    dtype: Any = np.float32,
    **given: NDArray[np.float32],
) -> None:
    """Assert that y ``[M, N]`` of an AnalogMatMul with stream 3 is what the reference says.

    Args:
        y: of the implementation under test.
        x, w: ``[M, K]`` and the weight.
        crossbar: the reference's settings.
        digital_inputs, digital_outputs: ``[K]`` and ``[N]``.
        transpose_weight: orientation of w.
        dtype: type of y.
        **given: other inputs of the node.
    """
    clean = (w.T if transpose_weight else w).astype(np.float32)
    conversions = convert(
        x,
        w,
        crossbar,
        3,
        transpose_weight=transpose_weight,
        digital_inputs=digital_inputs,
        digital_outputs=digital_outputs,
        **given,
    )
    spoiled = ~np.isfinite(x.astype(np.float32)).all(axis=1, keepdims=True)
    analog = ~digital_outputs
    inputs = np.flatnonzero(digital_inputs)
    exact = _exact(x[:, inputs], clean[np.ix_(inputs, np.flatnonzero(analog))], spoiled)
    assert_adc_equal(y[:, analog], [*conversions, exact], dtype)
    assert_adc_equal(y[:, digital_outputs], [_exact(x, clean[:, digital_outputs], spoiled)], dtype)


def _exact(x: NDArray[Any], w: NDArray[np.float32], spoiled: Mask) -> Conversion:
    """The digital product as a conversion of unlimited resolution."""
    wide = np.where(np.isfinite(x.astype(np.float32)), x, 0).astype(np.float64)
    value = np.where(spoiled, np.nan, wide @ w.astype(np.float64)).astype(np.float32)
    magnitude = (np.abs(wide) @ np.abs(w).astype(np.float64)).astype(np.float32)
    ones = np.ones_like(value)
    return Conversion(value=value, step=ones, limit=np.inf, magnitude=magnitude, step_error=0 * ones)
