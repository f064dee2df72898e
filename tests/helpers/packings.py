"""Packs a weight as each format of quantised checkpoints does: its parts, and what they mean in bfloat16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers.integrations.finegrained_fp8 import Fp8Dequantize

__all__ = ["PACKINGS", "Packed", "words_for_awq", "words_for_gptq"]

Packed = tuple[Mapping[str, torch.Tensor], torch.Tensor]
GROUP = 16


def words_for_gptq(numbers: torch.Tensor, bits: int) -> torch.Tensor:
    """Whole numbers `[n, m]` in words along the first axis, the first in the lowest bits (AutoGPTQ)."""
    each = 32 // bits
    words = torch.zeros(len(numbers) // each, numbers.shape[1], dtype=torch.int64)
    for index, row in enumerate(numbers):
        words[index // each] |= row.long() << (bits * (index % each))
    return words.to(torch.uint32).view(torch.int32)


def words_for_awq(numbers: torch.Tensor) -> torch.Tensor:
    """`[n, m]` in words along the second axis, as AutoAWQ's `WQLinear_GEMM.from_linear` has it."""
    words = torch.zeros(len(numbers), numbers.shape[1] // 8, dtype=torch.int64)
    for column in range(words.shape[1]):
        for place, output in enumerate([0, 2, 4, 6, 1, 3, 5, 7]):
            words[:, column] |= numbers[:, column * 8 + output].long() << (place * 4)
    return words.to(torch.uint32).view(torch.int32)


def pack_fp8(weight: torch.Tensor) -> Packed:
    scale = weight.unfold(0, GROUP, GROUP).unfold(1, GROUP, GROUP).abs().amax((2, 3)) / 448
    spread = scale.repeat_interleave(GROUP, 0).repeat_interleave(GROUP, 1)
    packed = (weight / spread).to(torch.float8_e4m3fn)
    meant = Fp8Dequantize(None)._dequantize_one(packed, scale, torch.bfloat16)
    return {".weight": packed, ".weight_scale_inv": scale}, meant


def whole_numbers(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Numbers of 4 bits `[in, out]`, zeros and float16 scales `[groups, out]`, and what they mean."""
    grouped = weight.T.unflatten(0, (-1, GROUP))
    low, high = grouped.amin(1), grouped.amax(1)
    scales = ((high - low) / 15).half()
    zeros = (-low / scales).round().clamp(1, 15).to(torch.int16)
    numbers = ((grouped / scales.unsqueeze(1)).round() + zeros.unsqueeze(1)).clamp(0, 15).to(torch.int16)
    meant = ((numbers - zeros.unsqueeze(1)) * scales.unsqueeze(1)).flatten(0, 1)
    return numbers.flatten(0, 1), zeros, scales, meant.T.bfloat16()


def pack_gptq(weight: torch.Tensor) -> Packed:
    numbers, zeros, scales, meant = whole_numbers(weight)
    parts = {
        ".qweight": words_for_gptq(numbers, 4),
        ".qzeros": words_for_gptq(zeros.T - 1, 4).T,
        ".scales": scales,
        ".g_idx": (torch.arange(len(numbers)) // GROUP).int(),
    }
    return parts, meant


def pack_awq(weight: torch.Tensor) -> Packed:
    numbers, zeros, scales, meant = whole_numbers(weight)
    return {".qweight": words_for_awq(numbers), ".qzeros": words_for_awq(zeros), ".scales": scales}, meant


def pack_bitsandbytes(weight: torch.Tensor) -> Packed:
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(weight.bfloat16(), quant_type="nf4", compress_statistics=True)
    parts = {f".weight.{key}": part for key, part in state.as_dict(packed=True).items()}
    return {".weight": packed, **parts}, functional.dequantize_4bit(packed, state)


def pack_compressed(weight: torch.Tensor) -> Packed:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    scales = (weight.unflatten(1, (-1, GROUP)).abs().amax(2) / 7).bfloat16()
    scheme = QuantizationScheme(targets=["Linear"], weights=FOUR_BITS)
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    parts = compressor.compress({"weight": weight.bfloat16(), "weight_scale": scales}, scheme)
    meant = compressor.decompress(parts, scheme)["weight"]
    return {f".{name}": part for name, part in parts.items()}, meant


FOUR_BITS: dict[str, Any] = {
    "num_bits": 4,
    "type": "int",
    "symmetric": True,
    "strategy": "group",
    "group_size": GROUP,
}
PACKINGS: dict[str, tuple[dict[str, Any], Any, str | None]] = {
    "fp8": ({"weight_block_size": [GROUP, GROUP]}, pack_fp8, None),
    "gptq": ({"bits": 4, "group_size": GROUP, "desc_act": False}, pack_gptq, None),
    "awq": ({"bits": 4, "group_size": GROUP, "version": "gemm"}, pack_awq, None),
    "bitsandbytes": ({"load_in_4bit": True}, pack_bitsandbytes, "bitsandbytes"),
    "compressed-tensors": (
        {
            "format": "pack-quantized",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": FOUR_BITS}},
        },
        pack_compressed,
        "compressed_tensors",
    ),
}
"""By `quant_method`: the rest of quantization_config, the function, and the package that it needs."""
