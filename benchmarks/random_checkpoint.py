"""Checkpoints in Hugging Face layout, of the shapes of OLMoE-1B-7B, DeepSeekMoE-16B and DeepSeek-V3.

`write_checkpoint` fills them with random bfloat16 values, `sparse_checkpoint.py` with nothing.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

__all__ = ["SHAPES", "Deepseek", "DeepseekV3", "Olmoe", "Shape", "write_checkpoint"]

SHARD = 4 << 30
"""Bytes of a shard, about."""
VALUES = (1 << 24) + 43
"""Random values that the weights repeat; a prime, so that no two matrices start at the same one."""

Tensors = Iterator[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Shape:
    """Sizes that both models have."""

    layers: int
    experts: int
    hidden: int
    intermediate: int
    vocabulary: int

    @property
    def config(self) -> dict[str, Any]:
        """What config.json holds."""
        heads = max(1, self.hidden // 128)
        return {
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": False,
            "dtype": "bfloat16",
        }

    def tensors(self) -> Tensors:
        """Names and shapes of the checkpoint's tensors."""
        yield "model.embed_tokens.weight", (self.vocabulary, self.hidden)
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}"
            yield from self.attention_tensors(f"{prefix}.self_attn")
            for norm in ("input_layernorm", "post_attention_layernorm"):
                yield f"{prefix}.{norm}.weight", (self.hidden,)
            yield from self.layer_tensors(layer, prefix)
        yield "model.norm.weight", (self.hidden,)
        yield "lm_head.weight", (self.vocabulary, self.hidden)

    def attention_tensors(self, prefix: str) -> Tensors:
        for projection in "qkvo":
            yield f"{prefix}.{projection}_proj.weight", (self.hidden, self.hidden)

    def layer_tensors(self, layer: int, prefix: str) -> Tensors:
        """Those of one layer's router and experts, and what only this model has."""
        yield f"{prefix}.mlp.gate.weight", (self.experts, self.hidden)
        for expert in range(self.experts):
            yield from self.mlp_tensors(f"{prefix}.mlp.experts.{expert}", self.intermediate)

    def mlp_tensors(self, prefix: str, intermediate: int) -> Tensors:
        for projection in ("gate_proj", "up_proj"):
            yield f"{prefix}.{projection}.weight", (intermediate, self.hidden)
        yield f"{prefix}.down_proj.weight", (self.hidden, intermediate)


@dataclass(frozen=True)
class Olmoe(Shape):
    """OLMoE; the defaults are the sizes of OLMoE-1B-7B."""

    layers: int = 16
    experts: int = 64
    hidden: int = 2048
    intermediate: int = 1024
    vocabulary: int = 50304

    @property
    def config(self) -> dict[str, Any]:
        return super().config | {
            "architectures": ["OlmoeForCausalLM"],
            "model_type": "olmoe",
            "intermediate_size": self.intermediate,
            "num_experts": self.experts,
            "num_experts_per_tok": min(8, self.experts),
        }

    def layer_tensors(self, layer: int, prefix: str) -> Tensors:
        for norm in ("q_norm", "k_norm"):
            yield f"{prefix}.self_attn.{norm}.weight", (self.hidden,)
        yield from super().layer_tensors(layer, prefix)


@dataclass(frozen=True)
class Deepseek(Shape):
    """DeepSeekMoE; the defaults are the sizes of DeepSeekMoE-16B.

    Attributes:
        shared: Shared experts, for every token.
        dense: Intermediate size of the first layers, which have no experts.
        first_dense: How many those are.
    """

    layers: int = 28
    experts: int = 64
    hidden: int = 2048
    intermediate: int = 1408
    vocabulary: int = 102400
    shared: int = 2
    dense: int = 10944
    first_dense: int = 1

    @property
    def config(self) -> dict[str, Any]:
        return super().config | {
            "architectures": ["DeepseekForCausalLM"],
            "model_type": "deepseek",
            "intermediate_size": self.dense,
            "moe_intermediate_size": self.intermediate,
            "n_routed_experts": self.experts,
            "n_shared_experts": self.shared,
            "num_experts_per_tok": min(6, self.experts),
            "first_k_dense_replace": self.first_dense,
            "moe_layer_freq": 1,
            "norm_topk_prob": False,
            "scoring_func": "softmax",
            "max_position_embeddings": 4096,
        }

    def layer_tensors(self, layer: int, prefix: str) -> Tensors:
        if layer < self.first_dense:
            yield from self.mlp_tensors(f"{prefix}.mlp", self.dense)
            return
        yield from super().layer_tensors(layer, prefix)
        yield from self.mlp_tensors(f"{prefix}.mlp.shared_experts", self.shared * self.intermediate)


@dataclass(frozen=True)
class DeepseekV3(Deepseek):
    """DeepSeek-V3, without the layer that predicts a second token; the defaults are its sizes.

    Attributes:
        heads: Of the attention.
        query_rank: Into how many numbers queries are compressed.
        cache_rank: Into how many numbers keys and values are.
    """

    layers: int = 61
    experts: int = 256
    hidden: int = 7168
    intermediate: int = 2048
    vocabulary: int = 129280
    shared: int = 1
    dense: int = 18432
    first_dense: int = 3
    heads: int = 128
    query_rank: int = 1536
    cache_rank: int = 512

    NOPE, ROPE, VALUE = 128, 64, 128

    @property
    def config(self) -> dict[str, Any]:
        return super().config | {
            "architectures": ["DeepseekV3ForCausalLM"],
            "model_type": "deepseek_v3",
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "q_lora_rank": self.query_rank,
            "kv_lora_rank": self.cache_rank,
            "qk_nope_head_dim": self.NOPE,
            "qk_rope_head_dim": self.ROPE,
            "v_head_dim": self.VALUE,
            "num_experts_per_tok": min(8, self.experts),
            "n_group": min(8, self.experts),
            "topk_group": min(4, self.experts),
            "norm_topk_prob": True,
            "scoring_func": "sigmoid",
            "topk_method": "noaux_tc",
            "routed_scaling_factor": 2.5,
            "num_nextn_predict_layers": 0,
        }

    def attention_tensors(self, prefix: str) -> Tensors:
        queries, keys = self.heads * (self.NOPE + self.ROPE), self.heads * (self.NOPE + self.VALUE)
        yield f"{prefix}.q_a_proj.weight", (self.query_rank, self.hidden)
        yield f"{prefix}.q_a_layernorm.weight", (self.query_rank,)
        yield f"{prefix}.q_b_proj.weight", (queries, self.query_rank)
        yield f"{prefix}.kv_a_proj_with_mqa.weight", (self.cache_rank + self.ROPE, self.hidden)
        yield f"{prefix}.kv_a_layernorm.weight", (self.cache_rank,)
        yield f"{prefix}.kv_b_proj.weight", (keys, self.cache_rank)
        yield f"{prefix}.o_proj.weight", (self.hidden, self.heads * self.VALUE)

    def layer_tensors(self, layer: int, prefix: str) -> Tensors:
        if layer >= self.first_dense:
            yield f"{prefix}.mlp.gate.e_score_correction_bias", (self.experts,)
        yield from super().layer_tensors(layer, prefix)


SHAPES: dict[str, type[Shape]] = {"olmoe": Olmoe, "deepseek": Deepseek, "deepseek-v3": DeepseekV3}


def write_checkpoint(shape: Shape, folder: Path) -> None:
    """A checkpoint as `save_pretrained` lays it out: config, shards, index, and a tokenizer of bytes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(shape.config))
    shards: list[list[tuple[str, tuple[int, ...]]]] = [[]]
    size = 0
    for name, dimensions in shape.tensors():
        if size > SHARD:
            shards.append([])
            size = 0
        shards[-1].append((name, dimensions))
        size += 2 * int(np.prod(dimensions))
    weight_map = {}
    written = 0
    for number, tensors in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        written = write_shard(tensors, folder / file, written)
        weight_map.update({name: file for name, _ in tensors})
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    write_tokenizer(shape.vocabulary, folder)


def write_shard(tensors: list[tuple[str, tuple[int, ...]]], path: Path, written: int) -> int:
    """Writes a file of tensors; takes and returns how many random values all files so far have."""
    header, offset = {}, 0
    for name, shape in tensors:
        end = offset + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors:
            if len(shape) == 1:
                np.ones(shape, ml_dtypes.bfloat16).tofile(file)
                continue
            values = random_values(1 if "embed" in name else shape[1] ** -0.5)
            end = written + int(np.prod(shape))
            while written < end:
                start = written % VALUES
                piece = values[start : start + end - written]
                piece.tofile(file)
                written += len(piece)
    return written


@functools.cache
def random_values(deviation: float) -> NDArray[Any]:
    """Normal values of a standard deviation, bfloat16."""
    values = np.random.default_rng(0).standard_normal(VALUES, np.float32)
    return (values * np.float32(deviation)).astype(ml_dtypes.bfloat16)


def write_tokenizer(vocabulary: int, folder: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = alphabet + [f"<{index}>" for index in range(len(alphabet), vocabulary)]
    tokenizer = Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
