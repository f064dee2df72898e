"""Tiny random checkpoints of MoE families, with a tokenizer, for exporters to read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from families import VOCABULARY, save_random_model
from model_types import tiny_config
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

__all__ = ["DENSE_FIRST", "FAMILIES", "save_checkpoint"]

# ONNX Runtime's GroupQueryAttention turns heads of 16 numbers or more.
WIDE_HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}

# Model type, and what its tiny configuration needs besides two layers.
FAMILIES: dict[str, Mapping[str, Any]] = {
    "deepseek_v2": {},
    "deepseek_v3": {},
    "ernie4_5_moe": {},
    "glm4_moe": {},
    "gpt_oss": {"layer_types": ["sliding_attention", "full_attention"], "head_dim": 16, **WIDE_HEADS},
    "granitemoe": {},
    "granitemoeshared": {},
    "hunyuan_v1_moe": {},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], **WIDE_HEADS},
    "mixtral": {"head_dim": 16, **WIDE_HEADS},
    "olmoe": WIDE_HEADS,
    "phimoe": {},
    "qwen2_moe": WIDE_HEADS,
    "qwen3_moe": {},
}

# Families whose first layer is dense, as their configurations have it.
DENSE_FIRST = ("deepseek_v2", "deepseek_v3", "ernie4_5_moe", "glm4_moe", "lfm2_moe")


def save_checkpoint(family: str, precision: str, folder: Path) -> None:
    """Write a checkpoint of two layers, the first one dense where the family has dense layers.

    Args:
        family: a key of `FAMILIES`.
        precision: float32, float16 or bfloat16.
        folder: where to.
    """
    config = tiny_config(family, num_hidden_layers=2, **FAMILIES[family])
    save_random_model(config, folder, getattr(torch, precision))
    words = WordLevel({f"w{number}": number for number in range(VOCABULARY)}, "w0")
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(words), unk_token="w0", bos_token="w1", eos_token="w2", pad_token="w0"
    ).save_pretrained(folder)
