"""Windows of tokens, and tokens that no model knows."""

from __future__ import annotations

import numpy as np
import pytest

from hetc.base.errors import InvalidInputError, UsageError
from hetc.model.tokens import token_windows


def test_a_rest_is_left_out() -> None:
    np.testing.assert_array_equal(token_windows(np.arange(7), 3), [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(token_windows(np.arange(7), 3, 1), [[0, 1, 2]])
    np.testing.assert_array_equal(token_windows(np.arange(6).reshape(2, 3), 99), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.array([1.0, 2.0, 3.0]), "float64, not integers"),
        (np.array([True, False, True]), "bool, not integers"),
        (np.zeros((1, 1, 3), int), r"shape \[1, 1, 3\]"),
        (np.array([1, -100, 2]), "has token -100; tokens count from 0"),
        (np.array([1, 9, 10]), r"has token 10, but the model knows 10 tokens \(0 to 9\)"),
    ],
)
def test_what_is_no_token_is_refused(tokens: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        token_windows(tokens, 3, vocabulary=10)


@pytest.mark.parametrize(("window", "most"), [(0, None), (-5, None), (3, 0), (3, -1), (99, None)])
def test_windows_that_make_no_sense_are_refused(window: int, most: int | None) -> None:
    with pytest.raises(UsageError):
        token_windows(np.arange(9), window, most)


def test_no_tokens_are_refused() -> None:
    with pytest.raises(UsageError):
        token_windows(np.zeros((0, 4), int), 4)
