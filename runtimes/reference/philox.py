"""Philox 4x32-10, the counter-based generator behind every random number of hetc.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["philox"]

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
LOW_WORD = 0xFFFFFFFF


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[int, int]) -> tuple[Any, Any, Any, Any]:
    """Encrypt counters into random words.

    Args:
        counter: four words below 2**32: integers, or integer arrays of NumPy or PyTorch that broadcast
            against each other.
        key: two words below 2**32.

    Returns:
        Four words below 2**32, of the broadcast shape of the counter, in 64-bit integers.
    """
    # A product of two words fills 64 bits. PyTorch's are signed: the shift then repeats the sign, and the
    # mask takes it off again.
    c0, c1, c2, c3 = (w.astype(np.uint64) if isinstance(w, np.ndarray) else w for w in counter)
    k0, k1 = key
    for _ in range(ROUNDS):
        product0 = MULTIPLIERS[0] * c0
        product1 = MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            ((product1 >> 32) & LOW_WORD) ^ c1 ^ k0,
            product1 & LOW_WORD,
            ((product0 >> 32) & LOW_WORD) ^ c3 ^ k1,
            product0 & LOW_WORD,
        )
        k0, k1 = (k0 + WEYL[0]) % 2**32, (k1 + WEYL[1]) % 2**32
    return c0, c1, c2, c3
