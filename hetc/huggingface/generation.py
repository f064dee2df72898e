"""What a runtime needs beside the graph to generate text: tokenizer files and genai_config.json."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from hetc.huggingface.skeleton import CacheShape

__all__ = ["genai_config"]

logger = logging.getLogger(__name__)


def genai_config(
    config: PretrainedConfig, cache: list[tuple[CacheShape, CacheShape]], model_file: Path
) -> dict[str, Any] | None:
    """Configuration for onnxruntime-genai, or None if it cannot hold this model's cache.

    Args:
        config: the model's.
        cache: heads and width of each layer's cached key and value.
        model_file: the ONNX file, in the same folder.
    """
    if len({shape for pair in cache for shape in pair}) > 1:
        logger.info(
            "no genai_config.json: it needs key and value caches of one shape, %s has keys %s, values %s",
            config.model_type,
            *cache[0],
        )
        return None
    heads, width = cache[0][0]
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
                "num_hidden_layers": len(cache),
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


def _special_tokens(config: PretrainedConfig) -> dict[str, int | list[int]]:
    """Those that the model has (genai refuses null); padding falls back on the first end token."""
    end = config.eos_token_id
    padding = config.pad_token_id
    if padding is None:
        padding = end[0] if isinstance(end, list) else end
    tokens = {"bos_token_id": config.bos_token_id, "eos_token_id": end, "pad_token_id": padding}
    return {name: token for name, token in tokens.items() if token is not None}
