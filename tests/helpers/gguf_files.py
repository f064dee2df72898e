"""Writes GGUF files as llama.cpp's converter does, with the package's own table of names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from transformers import PreTrainedModel

__all__ = ["types_of", "write_gguf"]


def write_gguf(
    model: PreTrainedModel,
    path: Path,
    architecture: gguf.MODEL_ARCH,
    kind: Callable[[str], Kind],
    add: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
) -> dict[str, torch.Tensor]:
    """Write a model; return what its tensors then mean, by transformers' names.

    Args:
        model: The model.
        path: The file.
        architecture: llama.cpp's.
        kind: From a tensor's name to the type of its matrices.
        add: More metadata.
    """
    config = model.config
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if getattr(config, "head_dim", None):
        writer.add_key_length(config.head_dim)
    experts = getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    for key in ("bos", "eos", "pad"):
        token = getattr(config, f"{key}_token_id")
        if token is not None:
            getattr(writer, f"add_{key}_token_id")(token)
    add(writer)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    meant = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        parts = {name: tensor}
        if name.endswith("experts.gate_up_proj"):
            gate, up = tensor.chunk(2, dim=1)
            stem = name.removesuffix("gate_up_proj")
            parts = {f"{stem}gate_proj": gate, f"{stem}up_proj": up}
        packed = [
            _add(writer, names, part, values.float().numpy(), kind(part), config, architecture)
            for part, values in parts.items()
        ]
        meant[name] = torch.cat(packed, dim=1) if len(packed) > 1 else packed[0]
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return meant


def _add(
    writer: gguf.GGUFWriter,
    names: gguf.TensorNameMap,
    name: str,
    values: np.ndarray,
    kind: Kind,
    config: Any,
    architecture: gguf.MODEL_ARCH,
) -> torch.Tensor:
    stem, _, end = name.rpartition(".")
    suffix = end if end in ("weight", "bias") else "weight"
    found = names.get_name(stem if end in ("weight", "bias") else name)
    assert found is not None, name
    if values.ndim < 2 or kind == Kind.F32 or "shared_expert_gate" in name:
        kind = Kind.F32
    if architecture == gguf.MODEL_ARCH.LLAMA and name.endswith(("q_proj.weight", "k_proj.weight")):
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
        written = _permute(values, heads)
    else:
        written = values
    writer.add_tensor(f"{found}.{suffix}", gguf.quantize(written, kind), raw_dtype=kind)
    meant = torch.from_numpy(gguf.dequantize(gguf.quantize(values, kind), kind))
    return meant.to({Kind.F32: torch.float32, Kind.F16: torch.float16}.get(kind, torch.bfloat16))


def _permute(weights: np.ndarray, heads: int) -> np.ndarray:
    """`LlamaModel.permute` of llama.cpp's convert_hf_to_gguf.py."""
    halves = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def types_of(matrices: Mapping[str, Kind], otherwise: Kind) -> Callable[[str], Kind]:
    """By a part of a tensor's name."""
    return lambda name: next((kind for part, kind in matrices.items() if part in name), otherwise)
