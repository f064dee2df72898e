"""AWQ: whole numbers of 4 bits, with a scale and a zero point for each group of inputs.

`.qweight` int32 `[in, out / 8]` and `.qzeros` `[groups, out / 8]` are packed along outputs, eight of them in
the order that the kernel `gemm` reads them in; `.scales` is float16 `[groups, out]`.
Weight = (number - zero) * scale.
"""

from __future__ import annotations

import torch

from hetc.huggingface.quantised.kept import Groups, Numbers
from hetc.huggingface.quantised.packed_tensor import PackedTensor, Parts, Stored
from hetc.huggingface.quantised.scheme import Format, Settings
from hetc.huggingface.quantised.words import WORD, unpack_words

__all__ = ["AWQ"]

BITS = 4
ORDER = [0, 4, 1, 5, 2, 6, 3, 7]
"""Where in its word each of eight outputs lies."""


def _check(settings: Settings) -> None:
    settings.number("bits", (BITS,))
    if settings.number("group_size", ()) < 1:
        settings.number("group_size", (-1,))
    version = settings.values.get("version", "gemm")
    if str(version).lower() != "gemm":
        settings.refuse("version", version, "gemm")


def _pack(settings: Settings, name: str, stored: Stored) -> PackedTensor:
    inputs, words = stored[".qweight"].shape
    size = int(settings.values["group_size"])
    groups = 1 if size < 0 else inputs // size
    for part in (".qzeros", ".scales"):
        if stored[part].shape[0] != groups:
            raise ValueError(
                f"{part} has {stored[part].shape[0]} groups, where group_size {size} makes {groups}"
            )
    kept = Groups(BITS, inputs // groups, _numbers)
    return PackedTensor(f"{name}.weight", (words * WORD // BITS, inputs), stored, _unpack, kept)


def _numbers(parts: Parts) -> Numbers:
    return Numbers(_outputs(parts[".qweight"]).T, parts[".scales"].T, _outputs(parts[".qzeros"]).T)


def _unpack(parts: Parts) -> torch.Tensor:
    numbers, zeros, scales = _outputs(parts[".qweight"]), _outputs(parts[".qzeros"]), parts[".scales"]
    grouped = numbers.reshape(len(scales), -1, numbers.shape[1])
    weight = (grouped - zeros.unsqueeze(1)) * scales.unsqueeze(1)
    return weight.flatten(0, 1).T.bfloat16().contiguous()


def _outputs(words: torch.Tensor) -> torch.Tensor:
    return unpack_words(words, BITS).reshape(len(words), -1, len(ORDER))[..., ORDER].flatten(-2)


AWQ = Format(
    endings=(".qweight", ".qzeros", ".scales"),
    needed=(".qweight", ".qzeros", ".scales"),
    pack=_pack,
    check=_check,
)
