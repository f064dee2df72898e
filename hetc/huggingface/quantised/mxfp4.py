"""MXFP4 as in gpt-oss: stacks of experts in blocks of 32 four-bit floats, with a power of two for each.

`_blocks` uint8 `[E, out, G, 16]` holds two values a byte, the first in the low bits; `_scales` uint8
`[E, out, G]` are exponents plus 127. The values are `[E, 32 G, out]`, as the model multiplies by them.
"""

from __future__ import annotations

import torch

from hetc.huggingface.quantised.packed_tensor import PackedTensor, Parts, Stored
from hetc.huggingface.quantised.scheme import Format, Settings

__all__ = ["MXFP4"]

MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
VALUES = torch.tensor((*MAGNITUDES, *(-one for one in MAGNITUDES)), dtype=torch.bfloat16)
"""What the four bits mean: a sign, two bits of exponent, one of mantissa."""


def _pack(settings: Settings, name: str, stored: Stored) -> PackedTensor:
    blocks = stored["_blocks"].shape
    if len(blocks) != 4:
        raise ValueError("blocks have four axes: expert, row, block, byte")
    experts, rows, count, width = blocks
    return PackedTensor(name, (experts, 2 * count * width, rows), stored, _unpack)


def _unpack(parts: Parts) -> torch.Tensor:
    blocks, scales = parts["_blocks"], parts["_scales"]
    values = VALUES[torch.stack((blocks & 15, blocks >> 4), dim=-1).flatten(-2).int()]
    values = torch.ldexp(values, scales.int().unsqueeze(-1) - 127)
    return values.flatten(-2).transpose(-1, -2).contiguous()


MXFP4 = Format(endings=("_blocks", "_scales"), needed=("_blocks", "_scales"), pack=_pack)
