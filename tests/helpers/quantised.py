"""Writes quantised checkpoints: those of a plain one, whose linear layers a function packs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from hetc.huggingface.quantised.packed_tensor import PackedTensor
from hetc.huggingface.quantised.reading import checkpoint_tensors

__all__ = ["Pack", "assert_same_bits", "packed_folder", "read_packed", "write_quantised"]

Pack = Callable[[torch.Tensor], tuple[Mapping[str, torch.Tensor], torch.Tensor]]
"""From a weight: its parts by the endings of their names, and what they mean in bfloat16."""

KEPT = ("embed_tokens", "norm", "lm_head", "mlp.gate.")


def write_quantised(
    plain: Path, folder: Path, quantization_config: Mapping[str, Any], pack: Pack
) -> dict[str, torch.Tensor]:
    """Quantise a checkpoint into a folder; return the tensors that it then means, by their plain names."""
    stored: dict[str, torch.Tensor] = {}
    meant: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(plain / "model.safetensors").items():
        module = name.removesuffix(".weight")
        if tensor.dim() != 2 or any(kept in name for kept in KEPT):
            stored[name] = meant[name] = tensor
            continue
        parts, meant[name] = pack(tensor.float())
        stored.update({module + ending: part.contiguous() for ending, part in parts.items()})
    packed_folder(folder, quantization_config, stored, json.loads((plain / "config.json").read_text()))
    return meant


def packed_folder(
    folder: Path,
    quantization_config: Mapping[str, Any],
    stored: Mapping[str, torch.Tensor],
    config: Mapping[str, Any] | None = None,
) -> Path:
    """A checkpoint folder of these tensors."""
    folder.mkdir()
    content = {**(config or {}), "quantization_config": dict(quantization_config)}
    (folder / "config.json").write_text(json.dumps(content))
    save_file(dict(stored), folder / "model.safetensors")
    return folder


def read_packed(folder: Path, name: str) -> torch.Tensor:
    """One tensor of a checkpoint folder; by experts, too, where it is a stack."""
    tensor = checkpoint_tensors(folder)[name]
    assert isinstance(tensor, PackedTensor)
    values = tensor.read()
    if len(tensor.shape) == 3:
        assert_same_bits(torch.stack(list(tensor.read_experts())), values)
    return values


def assert_same_bits(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Type, shape and every bit."""
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    assert torch.equal(actual.contiguous().view(torch.uint8), expected.contiguous().view(torch.uint8))
