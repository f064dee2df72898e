"""DeepSeek-V4's compressed attention in a form that traces for prompts of any length.

Every window of so many tokens becomes one more key, a mean of its tokens by a softmax over their gates.
transformers keeps what it compressed and the tokens of the window that is still open, in tensors whose
lengths decide in Python what is computed. Here the cache keeps every token, all windows are made anew, and
the open one, which is always there, is masked.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad
from transformers.models.deepseek_v4.modeling_deepseek_v4 import (
    DeepseekV4CSACompressor,
    DeepseekV4HCACompressor,
    DeepseekV4Indexer,
    apply_rotary_pos_emb,
)

__all__ = ["prepare_compressors"]


def prepare_compressors(model: nn.Module) -> None:
    """Replace the forward functions of DeepSeek-V4's compressors; they need the caches of `empty_cache`."""
    forwards = {
        DeepseekV4HCACompressor: _compressed,
        DeepseekV4CSACompressor: _compressed,
        DeepseekV4Indexer: _indexed,
    }
    for module in model.modules():
        if forward := forwards.get(type(module)):
            module.forward = functools.partial(forward, module)


def _compressed(
    module: Any,
    hidden_states: torch.Tensor,
    q_residual: torch.Tensor,
    position_ids: torch.Tensor,
    cache: Any,
    layer_idx: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The keys of all windows `[batch, 1, windows, D]`, and which of them a token sees, as a mask to add.

    Those are the windows that are closed, or with an indexer the ones of them that it chose.
    """
    keys = _compress(module, "compressor", hidden_states, cache.layers[layer_idx])
    if isinstance(module, DeepseekV4CSACompressor):
        seen = module.indexer(hidden_states, q_residual, position_ids, cache, layer_idx)
    else:
        seen = _closed(module, keys, position_ids)
    return keys.unsqueeze(1), torch.where(seen, 0.0, -torch.inf).unsqueeze(1)


def _indexed(
    module: Any,
    hidden_states: torch.Tensor,
    q_residual: torch.Tensor,
    position_ids: torch.Tensor,
    cache: Any,
    layer_idx: int,
) -> torch.Tensor:
    """Which windows each token sees, `[batch, sequence, windows]`: the best ones of those that are closed."""
    keys = _compress(module, "indexer", hidden_states, cache.layers[layer_idx])
    cosine, sine = module.rotary_emb(hidden_states, position_ids=position_ids, layer_type="compress")
    query = module.q_b_proj(q_residual).unflatten(-1, (-1, module.head_dim)).transpose(1, 2)
    query = apply_rotary_pos_emb(query, cosine, sine).transpose(1, 2)
    closed = _closed(module, keys, position_ids)
    scores = module.scorer(query, keys, hidden_states).masked_fill(~closed, -torch.inf)
    best = scores.topk(min(module.index_topk, keys.shape[1]), dim=-1).indices
    return torch.zeros_like(closed).scatter(-1, best, True) & closed


def _compress(module: Any, name: str, hidden_states: torch.Tensor, layer: Any) -> torch.Tensor:
    """The keys of all windows, `[batch, windows, D]`; the last one is open, and padded with zeros."""
    projected = torch.cat((module.kv_proj(hidden_states), module.gate_proj(hidden_states)), dim=-1)
    tokens = layer.update_tokens(name, projected)
    rate, width = module.compress_rate, module.head_dim
    windows = tokens.shape[1] // rate + 1
    tokens = pad(tokens, (0, 0, 0, rate))[:, : windows * rate]
    values, gates = tokens.reshape(tokens.shape[0], windows, rate, -1).chunk(2, dim=-1)
    gates = gates + module.position_bias
    if values.shape[-1] > width:
        # Two series: a window also takes the first one of the window before.
        values = torch.cat((_shift(values[..., :width], 0.0), values[..., width:]), dim=2)
        gates = torch.cat((_shift(gates[..., :width], -torch.inf), gates[..., width:]), dim=2)
    keys = module.kv_norm((values * gates.softmax(dim=2)).sum(dim=2))
    starts = (torch.arange(windows, device=keys.device) * rate).expand(keys.shape[0], -1)
    cosine, sine = module.rotary_emb(keys, position_ids=starts, layer_type="compress")
    rotated: torch.Tensor = apply_rotary_pos_emb(keys.unsqueeze(1), cosine, sine)
    return rotated.squeeze(1)


def _shift(series: torch.Tensor, first: float) -> torch.Tensor:
    return pad(series, (0, 0, 0, 0, 1, 0), value=first)[:, :-1]


def _closed(module: Any, keys: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
    """Which windows ended with a token or before it, `[batch, sequence, windows]`."""
    closed = (position_ids + 1) // module.compress_rate
    seen: torch.Tensor = torch.arange(keys.shape[1], device=keys.device) < closed.unsqueeze(-1)
    return seen
