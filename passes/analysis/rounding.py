"""What rounding does to normal numbers: converters whose steps may be coarser than their signal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["rounding_error"]

Float64 = NDArray[np.float64]


def rounding_error(deviation: Float64) -> Float64:
    """Mean squared error of rounding a normal around 0 to integers: its variance if small, 1/12 if large.

    Widrow's series over the characteristic function.
    """
    places = np.clip(deviation, 0, _LARGEST) * (len(_ROUNDING) - 1) / _LARGEST
    found: Float64 = np.interp(places, np.arange(len(_ROUNDING)), _ROUNDING)
    return np.where(deviation < _SMALLEST, np.square(deviation), found)


_SMALLEST, _LARGEST = 0.1, 1.5


def _rounding_table() -> Float64:
    deviations = np.maximum(np.linspace(0, _LARGEST, 1501), 1e-3)[:, None]
    orders = np.arange(1, 2000)
    terms = (-1.0) ** orders / orders**2 * np.exp(-2 * (np.pi * orders * deviations) ** 2)
    found: Float64 = 1 / 12 + terms.sum(axis=1) / np.pi**2
    return found


_ROUNDING = _rounding_table()
