"""What NumPy and PyTorch spell differently, for the functions here that take arrays of either."""

from __future__ import annotations

import sys
from typing import Any

import ml_dtypes  # noqa: F401  # registers bfloat16 with NumPy
import numpy as np

__all__ = ["cast", "library"]


def library(array: Any) -> Any:
    """The module with the functions for an array: `numpy`, or `torch` where it is a tensor."""
    return np if isinstance(array, (np.ndarray, np.generic)) else sys.modules["torch"]


def cast(array: Any, dtype: str) -> Any:
    """The array as another type, by its name."""
    return array.astype(dtype) if isinstance(array, np.ndarray) else array.to(getattr(library(array), dtype))
