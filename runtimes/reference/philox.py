"""Philox 4x32-10, the counter-based generator behind every random number of hetc.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["philox"]

ROUNDS = 10
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = 0x9E3779B9, 0xBB67AE85
LOW_WORD = np.uint64(0xFFFFFFFF)
WORD_BITS = np.uint64(32)


def philox(
    counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike], key: tuple[int, int]
) -> NDArray[np.uint32]:
    """Encrypt counters into random words.

    Args:
        counter: four words below 2**32, as integers or integer arrays that broadcast against each other.
        key: two words below 2**32.

    Returns:
        uint32 array of shape ``[4, *broadcast shape of the counter]``.
    """
    # Words are kept in 64 bits so that a product of two of them doesn't overflow.
    c0, c1, c2, c3 = np.broadcast_arrays(*(np.asarray(word, np.uint64) for word in counter))
    k0, k1 = key
    for _ in range(ROUNDS):
        product0 = MULTIPLIERS[0] * c0
        product1 = MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (product1 >> WORD_BITS) ^ c1 ^ np.uint64(k0),
            product1 & LOW_WORD,
            (product0 >> WORD_BITS) ^ c3 ^ np.uint64(k1),
            product0 & LOW_WORD,
        )
        k0, k1 = (k0 + WEYL[0]) % 2**32, (k1 + WEYL[1]) % 2**32
    return np.stack([c0, c1, c2, c3]).astype(np.uint32)
