"""The tensors of a GGUF file under transformers' names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from hetc.base.errors import InvalidInputError
from hetc.huggingface.quantised.gguf_file import WHOLE, GgufFile
from hetc.huggingface.quantised.packed_tensor import PackedTensor, Parts

__all__ = ["gguf_tensors"]

MODEL = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}
GATE, UP, DOWN = "ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"
"""Stacks of experts: transformers joins the first two."""


def gguf_tensors(file: GgufFile, config: Mapping[str, Any]) -> dict[str, PackedTensor]:
    """All tensors by transformers' names; no weight is read.

    Args:
        file: The file.
        config: The model's, see `gguf_config`.

    Raises:
        InvalidInputError: A tensor whose place hetc doesn't know.
    """
    found: dict[str, PackedTensor] = {}
    for name, shape in file.shapes.items():
        layer, _, part = name.removeprefix("blk.").partition(".")
        prefix = f"model.layers.{layer}.mlp.experts"
        if part == DOWN:
            tensor = _packed(file, f"{prefix}.down_proj", shape, name)
        elif part == GATE:
            up = name.replace(GATE, UP)
            if file.shapes.get(up) != shape:
                raise InvalidInputError(f"{file.path}: {name!r} needs {up!r} of the same shape beside it")
            joined = (shape[0], 2 * shape[1], shape[2])
            tensor = _packed(file, f"{prefix}.gate_up_proj", joined, name, up)
        elif part == UP and name.replace(UP, GATE) in file.shapes:
            continue
        else:
            tensor = _packed(file, _name(file, name), shape, name)
            if file.architecture == "llama" and part.startswith(("attn_q.", "attn_k.")):
                heads = "num_attention_heads" if part.startswith("attn_q.") else "num_key_value_heads"
                tensor = _with_halves(tensor, config[heads])
            if part == "ffn_gate_inp_shexp.weight" and len(shape) == 1:
                tensor = _as_row(tensor)
        found[tensor.name] = tensor
    return found


def _name(file: GgufFile, name: str) -> str:
    in_layer = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if in_layer and in_layer[2] in LAYER:
        return f"model.layers.{in_layer[1]}.{LAYER[in_layer[2]]}.{in_layer[3]}"
    module, _, kind = name.rpartition(".")
    if module in MODEL and kind in ("weight", "bias"):
        return f"{MODEL[module]}.{kind}"
    raise InvalidInputError(
        f"{file.path}: tensor {name!r} has no place in a {file.architecture} model that hetc knows; export "
        "the safetensors checkpoint"
    )


def _packed(file: GgufFile, name: str, shape: tuple[int, ...], *sources: str) -> PackedTensor:
    """A tensor of one source, or of several whose rows follow one another."""
    types = {source: file.types[source] for source in sources}

    def unpack(parts: Parts) -> torch.Tensor:
        values = [_values(part, types[source]) for source, part in parts.items()]
        return values[0] if len(values) == 1 else torch.cat(values, dim=-2)

    return PackedTensor(name, shape, {source: file.stored[source] for source in sources}, unpack)


def _values(part: torch.Tensor, kind: str) -> torch.Tensor:
    if kind in WHOLE:
        return part
    from gguf import GGMLQuantizationType, dequantize

    return torch.from_numpy(dequantize(part.numpy(), GGMLQuantizationType[kind])).bfloat16()


def _with_halves(tensor: PackedTensor, heads: int) -> PackedTensor:
    """Queries or keys of llama.cpp's Llama, whose rows rotate in neighbouring pairs, not in two halves."""

    def unpack(parts: Parts) -> torch.Tensor:
        rows = tensor.unpack(parts)
        pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
        return pairs.transpose(1, 2).reshape(rows.shape)

    return PackedTensor(tensor.name, tensor.shape, tensor.stored, unpack)


def _as_row(tensor: PackedTensor) -> PackedTensor:
    return PackedTensor(
        tensor.name, (1, *tensor.shape), tensor.stored, lambda parts: tensor.unpack(parts).unsqueeze(0)
    )
