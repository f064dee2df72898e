"""Cuts the token ids that a user hands over into windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError, UsageError
from hetc.model.token_files import read_tokens

__all__ = ["TokensLike", "check_vocabulary", "token_windows"]

TokensLike = Union[str, Path, NDArray[Any]]
"""Token ids: an array `[tokens]`, an array `[windows, window]` that is taken as it is, or the path of a file
with an array of them (see `hetc.model.token_files.read_tokens`)."""


def token_windows(
    data: TokensLike, window: int, most: int | None = None, *, vocabulary: int | None = None
) -> NDArray[np.int64]:
    """Token ids `[windows, window]` int64; a rest is left out.

    Args:
        data: The tokens.
        window: Tokens in a row.
        most: How many windows at most; None for all.
        vocabulary: How many tokens the model knows; None where that isn't known yet.

    Raises:
        UsageError: No such file, fewer tokens than one window, or a window or number that isn't positive.
        InvalidInputError: No integers, another number of dimensions, or a token that the model doesn't know.
    """
    where = f"data {data}" if isinstance(data, (str, Path)) else "data"
    if window < 1 or (most is not None and most < 1):
        raise UsageError(f"{where}: windows of {window} tokens, at most {most}: both must be at least 1")
    tokens = read_tokens(data) if isinstance(data, (str, Path)) else np.asarray(data)
    if not np.issubdtype(tokens.dtype, np.integer):
        raise InvalidInputError(f"{where}: tokens are {tokens.dtype}, not integers")
    if tokens.ndim not in (1, 2):
        raise InvalidInputError(
            f"{where}: tokens have shape {list(tokens.shape)}; give [tokens] or [windows, window]"
        )
    if tokens.ndim == 1:
        if len(tokens) < window:
            raise UsageError(f"{where}: {len(tokens)} tokens are fewer than one window of {window}")
        tokens = tokens[: len(tokens) // window * window].reshape(-1, window)
    windows: NDArray[np.int64] = tokens[:most].astype(np.int64)
    if not windows.size:
        raise UsageError(f"{where}: no tokens")
    check_vocabulary(windows, vocabulary, where)
    return windows


def check_vocabulary(tokens: NDArray[np.int64], vocabulary: int | None, where: str) -> None:
    """Raises `InvalidInputError` for a token below 0, or from `vocabulary` on, if that is known."""
    lowest, highest = int(tokens.min(initial=0)), int(tokens.max(initial=0))
    if lowest < 0:
        raise InvalidInputError(f"{where} has token {lowest}; tokens count from 0")
    if vocabulary is not None and highest >= vocabulary:
        raise InvalidInputError(
            f"{where} has token {highest}, but the model knows {vocabulary} tokens (0 to {vocabulary - 1}): "
            "it is not in the vocabulary; were they made with another tokenizer?"
        )
