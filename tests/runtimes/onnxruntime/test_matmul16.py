"""The kernel of MatMul16."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from single_node import single_node_model

from hetc.runtimes.onnxruntime.session import open_session

X = np.random.default_rng(0).standard_normal((37, 200), np.float32)
W = np.random.default_rng(1).standard_normal((70, 200), np.float32)


def run(x: np.ndarray, weight: np.ndarray, *, threads: int = 1, transposed: int = 1) -> np.ndarray:
    model = single_node_model("MatMul16", x, {"w": weight}, {"transpose_weight": transposed})
    found: np.ndarray = open_session(model.SerializeToString(), threads=threads).run(None, {"x": x})[0]
    return found


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_against_numpy(dtype: Any) -> None:
    weight = W.astype(dtype)
    expected = X.astype(np.float64) @ weight.astype(np.float64).T
    for given, transposed in ((weight, 1), (np.ascontiguousarray(weight.T), 0)):
        np.testing.assert_allclose(run(X, given, transposed=transposed), expected, atol=1e-4)


def test_bits_depend_on_neither_batch_nor_threads() -> None:
    weight = W.astype(ml_dtypes.bfloat16)
    whole = run(X, weight)
    np.testing.assert_array_equal(run(X, weight, threads=2), whole)
    np.testing.assert_array_equal(
        np.concatenate([run(X[i : i + 1], weight) for i in (0, 5, 36)]), whole[[0, 5, 36]]
    )


def test_wide_weights_are_refused() -> None:
    with pytest.raises(Exception, match="w is float32; allowed: float16, bfloat16"):
        run(X, W)
