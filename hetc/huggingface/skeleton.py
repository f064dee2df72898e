"""A transformers model without weights: every parameter is one zero, stretched to its shape by strides of 0.

Such a model traces like a real one, which a model on the device `meta` or of fake tensors does not: buffers
and constants that the code computes are real and reach the graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PreTrainedModel

from hetc.errors import InvalidInputError
from hetc.huggingface.placeholder import SHAPES_ONLY, TRACED, prepare_experts

__all__ = ["CacheShape", "build_skeleton", "cache_shapes"]

CacheShape = tuple[int, int]
"""Heads and width of a cached tensor `[batch, heads, sequence, width]`."""


def build_skeleton(folder: Path) -> PreTrainedModel:
    """The causal language model of a checkpoint folder's config.json, float32, on the device `meta`.

    Raises:
        InvalidInputError: a configuration that transformers cannot build, a quantised checkpoint, or a family
            whose experts hetc cannot express.
    """
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInputError(f"{folder}: transformers cannot read the configuration: {error}") from error
    if getattr(config, "quantization_config", None):
        raise InvalidInputError(f"{folder}: a quantised {config.model_type} checkpoint; export the float one")
    # Configurations from training ask for the router's loss, which generation does not use.
    config.output_router_logits = False
    try:
        with torch.device("meta"):
            build: Any = AutoModelForCausalLM.from_config
            model: PreTrainedModel = build(config, dtype=torch.float32, attn_implementation="eager")
    except ValueError as error:
        raise InvalidInputError(
            f"{folder}: {config.model_type} is not a causal language model: {error}"
        ) from error
    prepare_experts(model, config.model_type)
    model.train(False)
    return model


def cache_shapes(model: PreTrainedModel) -> list[tuple[CacheShape, CacheShape]]:
    """Shapes of each layer's cached key and value, found by a run on `meta` (MLA caches latents)."""
    model.set_experts_implementation(SHAPES_ONLY)
    cache = DynamicCache()
    ids = torch.zeros(2, 3, dtype=torch.int64, device="meta")
    with torch.no_grad():
        model(input_ids=ids, attention_mask=ids, position_ids=ids, past_key_values=cache, use_cache=True)
    model.set_experts_implementation(TRACED)
    layers: list[Any] = cache.layers
    return [(_heads_and_width(layer.keys), _heads_and_width(layer.values)) for layer in layers]


def _heads_and_width(cached: torch.Tensor) -> CacheShape:
    _, heads, _, width = cached.shape
    return heads, width


def fill_with_zeros(model: PreTrainedModel) -> None:
    """Move the model off `meta`: parameters become zeros without memory, buffers get their initial values."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                zero: Any = torch.zeros(()).expand(parameter.shape)
                module._parameters[name] = nn.Parameter(zero, requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)
    model.tie_weights()
    for module in model.modules():
        # Persistent buffers come from the checkpoint; the others are computed where transformers does it.
        if module._non_persistent_buffers_set:
            initialize: Any = model._init_weights
            initialize(module)
