"""Weights that stay packed in an export: whole numbers of 4 or 8 bits in groups, as MatMulNBits has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from hetc.huggingface.checkpoint import StoredTensor

__all__ = ["Groups", "KeptWeight", "Numbers", "as_blocks", "why_not_kept"]

BLOCKS = (256, 128, 64, 32, 16)
"""Block sizes of MatMulNBits."""
BITS = (4, 8)
SCALE_TYPES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Numbers:
    """The whole numbers of a weight: weight = (number - zero) * scale.

    Attributes:
        numbers: `[out, in]`, 0 to 2^bits - 1.
        scales: `[out, groups]`, groups of as many inputs each.
        zeros: `[out, groups]`, or None for 2^(bits-1).
    """

    numbers: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor | None = None


@dataclass(frozen=True)
class Groups:
    """How a format stores a weight.

    Attributes:
        bits: Of a number.
        size: Inputs that share a scale.
        numbers: Makes the numbers of the parts.
    """

    bits: int
    size: int
    numbers: Callable[[Mapping[str, torch.Tensor]], Numbers]


@dataclass(frozen=True)
class KeptWeight:
    """A weight `[out, in]` in a file, packed.

    Attributes:
        name: The name that it has in a checkpoint that isn't quantised.
        shape: Of its values.
        parts: Where codes, scales and perhaps zero points are.
        bits: Of a code.
        block_size: Inputs that share a scale.
    """

    name: str
    shape: tuple[int, ...]
    parts: tuple[StoredTensor, ...]
    bits: int
    block_size: int

    @property
    def file(self) -> Path:
        """The file that holds it."""
        return self.parts[0].file


def why_not_kept(groups: Groups, shape: tuple[int, ...]) -> str:
    """Why MatMulNBits can't have a weight of this shape; empty if it can."""
    if groups.bits not in BITS:
        return f"its numbers have {groups.bits} bits, not 4 or 8"
    if len(shape) != 2:
        return "it is no matrix"
    if shape[1] % groups.size or not _block_size(groups.size):
        return (
            f"its {shape[1]} inputs in groups of {groups.size} are no blocks of {', '.join(map(str, BLOCKS))}"
        )
    return ""


def as_blocks(groups: Groups, found: Numbers) -> tuple[int, list[torch.Tensor]]:
    """The block size; codes uint8 `[out, blocks, bytes]`, scales `[out, blocks]`, zero points.

    Scales of 16 bits keep their type, others are float32. Zero points are packed like codes, or float32 where
    one of them is 2^bits.
    """
    size = _block_size(groups.size)
    repeated = groups.size // size
    outputs, inputs = found.numbers.shape
    codes = _packed(found.numbers.to(torch.uint8), groups.bits).reshape(outputs, inputs // size, -1)
    scales = found.scales if found.scales.dtype in SCALE_TYPES else found.scales.float()
    parts = [codes, scales.repeat_interleave(repeated, 1).contiguous()]
    if found.zeros is not None:
        zeros = found.zeros.repeat_interleave(repeated, 1)
        whole = int(zeros.max()) < 1 << groups.bits
        parts.append(_packed(zeros.to(torch.uint8), groups.bits) if whole else zeros.float())
    return size, parts


def _block_size(group: int) -> int:
    return next((size for size in BLOCKS if group % size == 0), 0)


def _packed(numbers: torch.Tensor, bits: int) -> torch.Tensor:
    """Numbers packed into bytes along the last axis, the first in the lowest bits."""
    if bits == 8:
        return numbers.contiguous()
    if numbers.shape[1] % 2:
        numbers = torch.nn.functional.pad(numbers, (0, 1))
    return numbers[:, ::2] | (numbers[:, 1::2] << 4)
