"""Reads token ids that a user hands over."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hetc.base.errors import InvalidInputError, UsageError

__all__ = ["load_tokens"]


def load_tokens(path: Path, window: int) -> np.ndarray:
    """Token ids `[windows, window]` int64 from the array `tokens` of an .npz file; a rest is left out.

    Raises:
        UsageError: No such file, or fewer tokens than one window.
        InvalidInputError: No array `tokens` of integers.
    """
    try:
        tokens: np.ndarray = np.load(path)["tokens"]
    except OSError as error:
        raise UsageError(f"data {path}: cannot be read: {error}") from error
    except (ValueError, KeyError, IndexError) as error:
        raise InvalidInputError(
            f"data {path}: not an .npz file with an array named tokens; numpy.savez writes one"
        ) from error
    if not np.issubdtype(tokens.dtype, np.integer):
        raise InvalidInputError(f"data {path}: tokens are {tokens.dtype}, not integers")
    flat = tokens.reshape(-1).astype(np.int64)
    if len(flat) < window:
        raise UsageError(f"data {path}: {len(flat)} tokens are fewer than one window of {window}")
    whole: np.ndarray = flat[: len(flat) // window * window]
    return whole.reshape(-1, window)
