"""config.json and the tokenizer's files of a model that is a GGUF file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError
from hetc.huggingface.quantised.gguf_file import GgufFile
from hetc.model.generation_config import CONFIG

__all__ = ["model_config", "write_text_files"]

logger = logging.getLogger(__name__)

COUNTS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "context_length": "max_position_embeddings",
    "attention.head_count": "num_attention_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
"""What each file says, and transformers' names for it."""

# What llama.cpp's code of a family does, where transformers asks the configuration.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "olmoe": {"model_type": "olmoe", "norm_topk_prob": False},
    "qwen2": {"model_type": "qwen2"},
    "qwen2moe": {"model_type": "qwen2_moe", "norm_topk_prob": False},
    "qwen3": {"model_type": "qwen3"},
    "qwen3moe": {"model_type": "qwen3_moe", "norm_topk_prob": True},
}
EXPERTS_WIDTH = {"mixtral": "intermediate_size", "olmoe": "intermediate_size"}
"""Where a family has the intermediate size of its experts under another name than most."""

TOKENS = {"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id"}


def model_config(file: GgufFile) -> dict[str, Any]:
    """transformers' configuration of the model. Sizes of layers are those of their tensors.

    Raises:
        InvalidInputError: A family, or a rotary embedding, that hetc doesn't read from GGUF.
    """
    if file.architecture not in FAMILIES:
        raise InvalidInputError(
            f"{file.path}: general.architecture is {file.architecture!r}; hetc export takes "
            f"{', '.join(FAMILIES)} as GGUF, and many more as safetensors"
        )
    scaling = file.get(f"{file.architecture}.rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs.weight" in file.shapes:
        raise InvalidInputError(
            f"{file.path}: its rotary embedding is scaled ({file.architecture}.rope.scaling.type is "
            f"{scaling!r}), which hetc doesn't read from GGUF; export the safetensors checkpoint"
        )
    config = {**FAMILIES[file.architecture], **{ours: file.number(key) for key, ours in COUNTS.items()}}
    heads = config["num_attention_heads"]
    config |= {
        "num_key_value_heads": file.number("attention.head_count_kv", heads),
        "head_dim": file.number("attention.key_length", config["hidden_size"] // heads),
        "rope_parameters": {"rope_type": "default", "rope_theta": file.number("rope.freq_base", 10000.0)},
        "vocab_size": _size(file, "token_embd.weight", 0),
        "tie_word_embeddings": "output.weight" not in file.shapes,
        "attention_bias": "blk.0.attn_output.bias" in file.shapes,
        "dtype": "bfloat16",
    }
    if file.get(f"{file.architecture}.attention.clamp_kqv") is not None:
        config["clip_qkv"] = file.number("attention.clamp_kqv")
    if file.find(".ffn_down.weight"):
        config["intermediate_size"] = _size(file, ".ffn_down.weight", 1)
    elif file.get(f"{file.architecture}.feed_forward_length") is not None:
        config["intermediate_size"] = file.number("feed_forward_length")
    if file.find(".ffn_down_exps.weight"):
        config |= _experts(file, config["model_type"])
    config |= {ours: file.get(f"tokenizer.ggml.{key}_token_id") for key, ours in TOKENS.items()}
    return config


def _experts(file: GgufFile, model_type: str) -> dict[str, Any]:
    if model_type == "llama":
        model_type = "mixtral"
    config = {
        "model_type": model_type,
        "num_experts" if model_type != "mixtral" else "num_local_experts": file.number("expert_count"),
        "num_experts_per_tok": file.number("expert_used_count"),
        EXPERTS_WIDTH.get(model_type, "moe_intermediate_size"): _size(file, ".ffn_down_exps.weight", 2),
    }
    if file.find(".ffn_down_shexp.weight"):
        config["shared_expert_intermediate_size"] = _size(file, ".ffn_down_shexp.weight", 1)
    return config


def _size(file: GgufFile, ending: str, axis: int) -> int:
    for name in file.find(ending):
        return file.shapes[name][axis]
    raise InvalidInputError(f"{file.path}: no tensor {ending}; the file is damaged, or no language model")


def write_text_files(file: GgufFile, config: Mapping[str, Any], directory: Path) -> None:
    """config.json, and the tokenizer's files where the file has a tokenizer that transformers can build."""
    text = json.dumps(config, indent=2) + "\n"
    (directory / CONFIG).write_text(text, encoding="utf-8")
    if file.get("tokenizer.ggml.model") is None:
        return
    from transformers import PreTrainedTokenizerFast

    try:
        load: Any = PreTrainedTokenizerFast.from_pretrained
        load(file.path.parent, gguf_file=file.path.name).save_pretrained(directory)
    except Exception as error:  # vocabularies that transformers has no builder for, or damaged ones
        logger.warning("%s: no tokenizer files, transformers cannot make them: %s", file.path, error)
