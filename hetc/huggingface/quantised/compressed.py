"""compressed-tensors (llm-compressor): each module's parts go through that library's own decompression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from hetc.base.extras import needs
from hetc.huggingface.quantised.kept import Groups, Numbers
from hetc.huggingface.quantised.packed_tensor import PackedTensor, Parts, Stored, load
from hetc.huggingface.quantised.scheme import Format, Settings
from hetc.huggingface.quantised.words import WORD, unpack_words

__all__ = ["COMPRESSED"]

INTEGERS = ("pack-quantized",)
BYTES = ("naive-quantized", "int-quantized", "float-quantized")
FORMATS = (*INTEGERS, *BYTES)

ENDINGS = tuple(f".weight{part}" for part in ("", "_packed", "_scale", "_zero_point", "_shape", "_g_idx"))


def _check(settings: Settings) -> None:
    with needs("quantised", "a compressed-tensors checkpoint"):
        import compressed_tensors.compressors  # noqa: F401
    for key in ("sparsity_config", "transform_config"):
        value = settings.values.get(key) or {}
        if value and not (isinstance(value, dict) and value.get("format") == "dense"):
            settings.refuse(key, value, "weights that are only quantised")
    if not _groups(settings):
        settings.refuse("config_groups", settings.values.get("config_groups"), "at least one group")
    for name, group in _groups(settings).items():
        if _format(settings, group) not in FORMATS:
            settings.refuse(f"config_groups.{name}.format", _format(settings, group), ", ".join(FORMATS))


def _groups(settings: Settings) -> Mapping[str, Any]:
    groups = settings.values.get("config_groups")
    if not isinstance(groups, dict) or not all(isinstance(group, dict) for group in groups.values()):
        return {}
    return groups


def _format(settings: Settings, group: Mapping[str, Any]) -> Any:
    return group.get("format") or settings.values.get("format")


def _group_of(settings: Settings, module: str) -> Mapping[str, Any]:
    """The group whose targets name a module; else one that names a class of modules, such as `Linear`."""
    from compressed_tensors.utils.match import match_name

    groups = list(_groups(settings).values())
    for group in groups:
        if any(match_name(module, target) for target in group["targets"]):
            return dict(group)
    for group in groups:
        if any(target.isidentifier() for target in group["targets"]):
            return dict(group)
    raise ValueError("no group of quantization_config.config_groups has it among its targets")


def _pack(settings: Settings, name: str, stored: Stored) -> PackedTensor:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    if ".weight_g_idx" in stored:
        raise ValueError("weight_g_idx (actorder group) is of an old version that scattered its groups")
    group = _group_of(settings, name)
    form = _format(settings, group)
    scheme = QuantizationScheme.model_validate(group)
    compressor = BaseCompressor.get_value_from_registry(form)
    ending = ".weight" if form in BYTES else ".weight_packed"
    if ending not in stored:
        raise ValueError(f"no {ending}, which {form} has")
    shape = stored[ending].shape
    if form in INTEGERS:
        shape = tuple(load(stored[".weight_shape"]).tolist())
        in_word, words = WORD // scheme.weights.num_bits, stored[ending].shape[-1]
        if words != -(-shape[-1] // in_word):
            raise ValueError(f"{shape[-1]} inputs in {words} words of {in_word}; num_bits is another")
    parts = {ending: part for ending, part in stored.items() if ending != ".weight_shape"}

    def unpack(parts: Parts) -> torch.Tensor:
        local = {ending.removeprefix("."): part for ending, part in parts.items()}
        if form in INTEGERS:
            local["weight_shape"] = torch.tensor(shape[-local["weight_packed"].dim() :])
        values: torch.Tensor = compressor.decompress(local, scheme)["weight"]
        return values.bfloat16()

    return PackedTensor(f"{name}.weight", shape, parts, unpack, _kept(form, scheme.weights, tuple(shape)))


def _kept(form: str, weights: Any, shape: tuple[int, ...]) -> Groups | str:
    """How a weight can stay packed, or why it can't."""
    if str(weights.type) != "int":
        return "MatMulNBits has whole numbers, no floats"
    if weights.strategy not in ("group", "channel"):
        return f"its scales are of strategy {weights.strategy}, not group or channel"
    if weights.actorder == "group":
        return "its groups lie in order of activation (actorder)"
    bits, middle = weights.num_bits, 1 << (weights.num_bits - 1)
    if bits not in (4, 8):
        return f"its numbers have {bits} bits, not 4 or 8"

    def numbers(parts: Parts) -> Numbers:
        outputs, inputs = shape
        zeros = parts.get(".weight_zero_point")
        if form not in INTEGERS:
            zeros = None if zeros is None else zeros.to(torch.int16).reshape(outputs, -1) + middle
            found = parts[".weight"].to(torch.int16) + middle
        else:
            zeros = None if zeros is None else unpack_words(zeros.T.contiguous(), bits).T[:outputs]
            found = unpack_words(parts[".weight_packed"], bits)[:, :inputs]
        return Numbers(found, parts[".weight_scale"].reshape(outputs, -1), zeros)

    return Groups(bits, weights.group_size if weights.strategy == "group" else shape[-1], numbers)


COMPRESSED = Format(endings=ENDINGS, needed=(".weight_scale",), pack=_pack, check=_check)
