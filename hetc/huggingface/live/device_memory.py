"""How many tokens a model's device has memory for."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from hetc.model.batch_limit import CPU_TOKENS

__all__ = ["fitting_tokens"]

GPU_TOKENS = 16384
"""More at a time make no GPU faster: each of 64 experts, 8 of which a token takes, has 2,048 rows by then."""
VECTORS = 64
"""Vectors of the hidden size, in float32, that a layer is taken to hold per token: products of its experts,
and what crossbars make of them. What turns out to be too many tokens is halved."""


def fitting_tokens(model: PreTrainedModel) -> int:
    """Tokens to begin with at a time: half of the free memory, as the crossbars are yet to be programmed."""
    if model.device.type != "cuda":
        return CPU_TOKENS
    config: Any = model.config.get_text_config()
    size = model.dtype.itemsize
    logits, cache = 2 * config.vocab_size * size, 4 * config.num_hidden_layers * config.hidden_size * size
    free, _ = torch.cuda.mem_get_info(model.device)
    token: int = logits + cache + 4 * VECTORS * config.hidden_size
    return max(1, min(GPU_TOKENS, free // 2 // token))
