"""What a runtime needs beside the graph to generate text: tokenizer files and genai_config.json."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from hetc.huggingface.cache import CachedTensor

__all__ = ["genai_config"]

logger = logging.getLogger(__name__)


def genai_config(
    config: PretrainedConfig, cache: Sequence[CachedTensor], model_file: Path
) -> dict[str, Any] | None:
    """Configuration for onnxruntime-genai, or None if it cannot hold this model's cache.

    Args:
        config: the model's.
        cache: the tensors that it carries from one step to the next.
        model_file: the ONNX file, in the same folder.
    """
    config = config.get_text_config()
    reason = _reason_against(cache, config.num_hidden_layers)
    if reason:
        logger.warning("no genai_config.json: %s", reason)
        return None
    heads, _, width = cache[0].shape
    return {
        "model": {
            # genai knows few families by name; `decoder` takes any with these inputs and outputs.
            "type": "decoder",
            **_special_tokens(config),
            "vocab_size": config.vocab_size,
            "context_length": config.max_position_embeddings,
            "decoder": {
                "filename": model_file.name,
                "session_options": {"provider_options": []},
                "hidden_size": config.hidden_size,
                "head_size": width,
                "num_attention_heads": config.num_attention_heads,
                "num_key_value_heads": heads,
                "num_hidden_layers": config.num_hidden_layers,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "position_ids": "position_ids",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {"max_length": config.max_position_embeddings, "do_sample": False, "num_beams": 1},
    }


def _reason_against(cache: Sequence[CachedTensor], layers: int) -> str:
    """Why onnxruntime-genai cannot carry this cache; empty if it can."""
    others = sorted({one.part for one in cache} - {"key", "value"})
    if others:
        return (
            f"layer {next(one.layer for one in cache if one.part == others[0])} carries {', '.join(others)}"
        )
    if len(cache) != 2 * layers:
        return f"{len(cache) // 2} of {layers} layers keep keys and values"
    shapes = {one.shape: one for one in cache}
    if len(shapes) > 1:
        (heads, _, width), (other_heads, _, other_width) = list(shapes)[:2]
        first, second = list(shapes.values())[:2]
        return (
            f"{first.name} has {heads} heads of width {width}, "
            f"{second.name} {other_heads} of width {other_width}; onnxruntime-genai holds all in one shape"
        )
    return ""


def _special_tokens(config: PretrainedConfig) -> dict[str, int | list[int]]:
    """Those that the model has (genai refuses null); padding falls back on the first end token."""
    end = config.eos_token_id
    padding = config.pad_token_id
    if padding is None:
        padding = end[0] if isinstance(end, list) else end
    tokens = {"bos_token_id": config.bos_token_id, "eos_token_id": end, "pad_token_id": padding}
    return {name: token for name, token in tokens.items() if token is not None}
