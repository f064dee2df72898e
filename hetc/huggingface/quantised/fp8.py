"""FP8 as in DeepSeek-V3: float8 weights, each with scales for the whole of it, its rows, or its blocks.

Beside `X.weight` lies `X.weight_scale_inv` (or `X.weight_scale`, as vLLM has it): one number, one a row, or
one a block of `weight_block_size`, of which the last ones may stand over the edge. A value is weight times
scale, for all that the name says.
"""

from __future__ import annotations

import torch

from hetc.huggingface.quantised.packed_tensor import PackedTensor, Parts, Stored
from hetc.huggingface.quantised.scheme import Format, Settings

__all__ = ["FP8", "times_scale"]

FLOAT8 = ("F8_E4M3", "F8_E5M2")
SCALES = ("_scale_inv", "_scale")
SCALE_TYPES = ("F32", "BF16", "F16", "U8", "F8_E8M0")


def _check(settings: Settings) -> None:
    blocks = settings.values.get("weight_block_size")
    whole = isinstance(blocks, list | tuple) and len(blocks) == 2
    if blocks is not None and not (whole and all(isinstance(one, int) and one > 0 for one in blocks)):
        settings.refuse("weight_block_size", blocks, "two numbers above 0, or none")


def _pack(settings: Settings, name: str, stored: Stored) -> PackedTensor:
    weight = stored[""]
    if weight.dtype not in FLOAT8:
        raise ValueError(f"{weight.name} is {weight.dtype}, not one of {', '.join(FLOAT8)}")
    for scale in (stored[ending] for ending in SCALES if ending in stored):
        if scale.dtype not in SCALE_TYPES:
            raise ValueError(f"{scale.name} is {scale.dtype}, not one of {', '.join(SCALE_TYPES)}")
    blocks = settings.values.get("weight_block_size")

    def unpack(parts: Parts) -> torch.Tensor:
        (scale,) = (parts[ending] for ending in SCALES if ending in parts)
        return times_scale(parts[""].float(), scale, blocks).bfloat16()

    return PackedTensor(name, weight.shape, stored, unpack, zeros_stay=True)


def times_scale(weight: torch.Tensor, scale: torch.Tensor, blocks: list[int] | None) -> torch.Tensor:
    """Scaled in place, in float32.

    Args:
        weight: float32 `[..., out, in]`.
        scale: One number, `[..., out]`, or a grid `[..., rows, columns]` of blocks.
        blocks: Rows and columns of a block; None where the grid divides the matrix evenly.

    Raises:
        ValueError: They don't fit each other.
    """
    # E8M0 scales are often stored as bytes: exponents plus 127.
    scale = (scale.float() - 127).exp2() if scale.dtype == torch.uint8 else scale.float()
    while scale.dim() < weight.dim():
        scale = scale.unsqueeze(-1)
    for axis in (-2, -1):
        size, count = weight.shape[axis], scale.shape[axis]
        length = size // count
        if count == 1 or count == size:
            continue
        if blocks and -(-size // blocks[axis]) == count:
            length = blocks[axis]
        elif blocks or size % count:
            raise ValueError(f"{count} scales for {size} values, in blocks of {blocks}")
        scale = scale.repeat_interleave(length, axis).narrow(axis, 0, size)
    return weight.mul_(scale)


FP8 = Format(endings=("", *SCALES), needed=("",), pack=_pack, check=_check)
