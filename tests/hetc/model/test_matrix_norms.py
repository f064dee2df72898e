"""Norms in one pass equal those that NumPy computes in double precision."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hetc.model.matrix_norms import NormSums, matrix_norms


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    dtype=st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16]),
    cut=st.integers(0, 40),
)
def test_equal_to_double_precision(rows: int, columns: int, dtype: type, cut: int) -> None:
    matrix = np.random.default_rng(rows).standard_normal((rows, columns)).astype(dtype)
    sums = NormSums(columns)
    sums.add(matrix[cut:])
    sums.add(matrix[:cut])
    wide = matrix.astype(np.float64)
    for norms in (sums.norms, matrix_norms(matrix)):
        assert norms.row == pytest.approx(np.linalg.norm(wide, axis=1).max(), rel=1e-6)
        assert norms.column == pytest.approx(np.linalg.norm(wide, axis=0).max(), rel=1e-6)


def test_many_rows() -> None:
    matrix = np.random.default_rng(0).standard_normal((3000, 200)).astype(np.float32)
    wide = matrix.astype(np.float64)
    assert matrix_norms(matrix).column == pytest.approx(np.linalg.norm(wide, axis=0).max(), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows(dtype: type, bad: float) -> None:
    matrix = np.ones((70, 3), dtype)
    matrix[5, 1] = bad
    norms = matrix_norms(matrix)
    assert not np.isfinite(norms.row)
    assert not np.isfinite(norms.column)
