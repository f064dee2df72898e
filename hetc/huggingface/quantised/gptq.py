"""GPTQ: whole numbers of 2, 4 or 8 bits, with a scale and a zero point for each group of inputs.

`.qweight` int32 `[in * bits / 32, out]` is packed along inputs, `.qzeros` `[groups, out * bits / 32]` along
outputs, `.scales` is float16 `[groups, out]`. `.g_idx` `[in]` says which group an input is in: in order of
activation (`desc_act`) they lie scattered. Weight = (number - zero) * scale.
"""

from __future__ import annotations

import torch

from hetc.huggingface.quantised.kept import Groups, Numbers
from hetc.huggingface.quantised.packed_tensor import PackedTensor, Parts, Stored
from hetc.huggingface.quantised.scheme import Format, Settings
from hetc.huggingface.quantised.words import WORD, unpack_words

__all__ = ["GPTQ"]

BITS = (2, 4, 8)
FIRST_ZERO = {"gptq": 1, "gptq_v2": 0}
"""By `checkpoint_format`: what a stored zero point of 0 means."""


def _check(settings: Settings) -> None:
    settings.number("bits", BITS)
    if settings.number("group_size", ()) < 1:
        settings.number("group_size", (-1,))
    if _format(settings) not in tuple(FIRST_ZERO):
        settings.refuse("checkpoint_format", _format(settings), " or ".join(FIRST_ZERO))
    dynamic = settings.values.get("dynamic") or {}
    if not isinstance(dynamic, dict):
        settings.refuse("dynamic", dynamic, "an object of patterns")
    for pattern in dynamic:
        # A pattern that begins with a minus names modules that are not quantised.
        if not pattern.startswith("-:"):
            settings.refuse("dynamic", pattern, "the same bits and groups for all modules")


def _format(settings: Settings) -> object:
    return settings.values.get("checkpoint_format") or "gptq"


def _pack(settings: Settings, name: str, stored: Stored) -> PackedTensor:
    bits = int(settings.values["bits"])
    group_size = int(settings.values["group_size"])
    first = FIRST_ZERO[str(_format(settings))]
    words, outputs = stored[".qweight"].shape
    inputs = words * WORD // bits

    def found(parts: Parts) -> Numbers:
        numbers = unpack_words(parts[".qweight"].T, bits)
        return Numbers(numbers, parts[".scales"].T, unpack_words(parts[".qzeros"], bits).T + first)

    def unpack(parts: Parts) -> torch.Tensor:
        grouped = found(parts)
        numbers, scales, zeros = grouped.numbers, grouped.scales, grouped.zeros
        assert zeros is not None
        if ".g_idx" in parts:
            groups = parts[".g_idx"].long()
            if len(groups) and int(groups.min()) < 0:
                raise ValueError("g_idx has numbers below 0")
        else:
            groups = torch.arange(inputs) // (inputs if group_size < 0 else group_size)
            if int(groups[-1]) + 1 != scales.shape[1]:
                raise ValueError(f"{scales.shape[1]} groups, where group_size {group_size} makes others")
        return ((numbers - zeros[:, groups]) * scales[:, groups]).bfloat16()

    size = inputs if group_size < 0 else group_size

    def in_order(parts: Parts) -> Numbers:
        if ".g_idx" in parts and not torch.equal(parts[".g_idx"].long(), torch.arange(inputs) // size):
            raise ValueError("g_idx scatters its groups, which desc_act doesn't say")
        return found(parts)

    scattered = "its groups lie in order of activation (desc_act)"
    kept = scattered if settings.values.get("desc_act") else Groups(bits, size, in_order)
    return PackedTensor(f"{name}.weight", (outputs, inputs), stored, unpack, kept)


GPTQ = Format(
    endings=(".qweight", ".qzeros", ".scales", ".g_idx"),
    needed=(".qweight", ".qzeros", ".scales"),
    pack=_pack,
    check=_check,
)
