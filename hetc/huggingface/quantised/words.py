"""Small unsigned numbers packed into words of 32 bits, the first in the lowest bits."""

from __future__ import annotations

import torch

__all__ = ["WORD", "unpack_words"]

WORD = 32


def unpack_words(words: torch.Tensor, bits: int) -> torch.Tensor:
    """The numbers along the last axis.

    Args:
        words: int32 `[..., n]`.
        bits: Of a number; divides 32.

    Returns:
        int16 `[..., n * 32 / bits]`.
    """
    shifts = torch.arange(0, WORD, bits, dtype=torch.int32)
    return ((words.unsqueeze(-1) >> shifts) & ((1 << bits) - 1)).to(torch.int16).flatten(-2)
