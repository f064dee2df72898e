"""The largest Euclidean norm of a row and of a column of a matrix, from blocks of its rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MatrixNorms", "NormSums", "matrix_norms"]

BLOCK = 1 << 17
"""Numbers worked on at a time: as float32 they stay in the processor's cache."""


@dataclass(frozen=True)
class MatrixNorms:
    """Of a matrix as it is stored.

    Attributes:
        row: Largest Euclidean norm of a row; NaN or infinite if the matrix holds NaN or infinity.
        column: Largest Euclidean norm of a column.
    """

    row: float
    column: float


class NormSums:
    """Sums of squares of a matrix that comes in blocks of rows, in any order.

    Rows are summed in float32 (pairwise), columns in float32 within a block and in float64 over blocks.
    """

    def __init__(self, columns: int) -> None:
        self._row = 0.0
        self._columns = np.zeros(columns, np.float64)

    def add(self, rows: NDArray[np.generic]) -> None:
        """Takes `[n, columns]` in float32, float16 or bfloat16."""
        height = max(1, BLOCK // max(1, rows.shape[1]))
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(rows), height):
                squares = _float32(rows[start : start + height])
                np.square(squares, out=squares)
                self._row = float(np.maximum(self._row, squares.sum(axis=1).max(initial=0)))
                self._columns += squares.sum(axis=0)

    @property
    def norms(self) -> MatrixNorms:
        """The norms of all rows so far."""
        return MatrixNorms(float(np.sqrt(self._row)), float(np.sqrt(self._columns.max(initial=0))))


def matrix_norms(matrix: NDArray[np.generic]) -> MatrixNorms:
    """The norms of a whole matrix."""
    sums = NormSums(matrix.shape[1])
    sums.add(matrix)
    return sums.norms


def _float32(rows: NDArray[np.generic]) -> NDArray[np.float32]:
    """A float32 copy."""
    if rows.dtype.name != "bfloat16":
        return rows.astype(np.float32)
    # The upper half of a float32. NumPy's own operators leave other threads running, a foreign type's cast
    # need not.
    wide = rows.view(np.uint16).astype(np.uint32)
    np.left_shift(wide, 16, out=wide)
    return wide.view(np.float32)
