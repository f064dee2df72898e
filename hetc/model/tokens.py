"""Reads token ids that a user hands over."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError, UsageError

__all__ = ["TokensLike", "token_windows"]

TokensLike = Union[str, Path, NDArray[Any]]
"""Token ids: an array `[tokens]`, an array `[windows, window]` that is taken as it is, or the path of an .npz
file with an array `tokens`."""


def token_windows(data: TokensLike, window: int, most: int | None = None) -> NDArray[np.int64]:
    """Token ids `[windows, window]` int64; a rest is left out.

    Args:
        data: The tokens.
        window: Tokens in a row.
        most: How many windows at most; None for all.

    Raises:
        UsageError: No such file, or fewer tokens than one window.
        InvalidInputError: No array `tokens` of integers.
    """
    where = f"data {data}" if isinstance(data, (str, Path)) else "data"
    tokens = _load(Path(data), where) if isinstance(data, (str, Path)) else np.asarray(data)
    if not np.issubdtype(tokens.dtype, np.integer):
        raise InvalidInputError(f"{where}: tokens are {tokens.dtype}, not integers")
    if tokens.ndim == 2 and not isinstance(data, (str, Path)):
        return tokens.astype(np.int64)[:most]
    flat = tokens.reshape(-1).astype(np.int64)
    if len(flat) < window:
        raise UsageError(f"{where}: {len(flat)} tokens are fewer than one window of {window}")
    whole: NDArray[np.int64] = flat[: len(flat) // window * window].reshape(-1, window)
    return whole[:most]


def _load(path: Path, where: str) -> NDArray[Any]:
    try:
        tokens: NDArray[Any] = np.load(path)["tokens"]
    except OSError as error:
        raise UsageError(f"{where}: cannot be read: {error}") from error
    except (ValueError, KeyError, IndexError) as error:
        raise InvalidInputError(
            f"{where}: not an .npz file with an array named tokens; numpy.savez writes one"
        ) from error
    return tokens
