"""Rotary embeddings whose frequencies depend on the length (LongRoPE, dynamic NTK), in a form that traces.

transformers keeps the frequencies that it last used in the module, and asks the positions for their largest
in Python. Here each call chooses its frequencies by an operator.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from torch import nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.phimoe.modeling_phimoe import PhimoeRotaryEmbedding

__all__ = ["prepare_rotary"]


def prepare_rotary(model: nn.Module) -> None:
    """Replace the forward function of those rotary embeddings in a model.

    Cached keys keep the frequencies of the call that made them, as in transformers.
    """
    for module in model.modules():
        kinds: Any = getattr(module, "rope_type", None)
        if any(_depends_on_length(kind) for kind in (kinds.values() if isinstance(kinds, dict) else [kinds])):
            phi = isinstance(module, PhimoeRotaryEmbedding)
            module.forward = functools.partial(_phi_rotation if phi else _rotation, module)


def _depends_on_length(kind: str | None) -> bool:
    return kind is not None and (kind == "longrope" or "dynamic" in kind)


def _rotation(
    module: Any, x: torch.Tensor, position_ids: torch.Tensor, layer_type: str | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine `[batch, sequence, width]` by the family's own function, with frequencies chosen."""
    by_type = {} if layer_type is None else {"layer_type": layer_type}
    kind = module.rope_type if layer_type is None else module.rope_type[layer_type]
    if _depends_on_length(kind):
        name = "inv_freq" if layer_type is None else f"{layer_type}_inv_freq"
        frequencies = functools.partial(ROPE_INIT_FUNCTIONS[kind], module.config, x.device, **by_type)
        length = position_ids.max() + 1
        if kind == "longrope":
            parameters = module.config.rope_parameters
            limit = (parameters if layer_type is None else parameters[layer_type])[
                "original_max_position_embeddings"
            ]
            chosen = torch.where(length > limit, frequencies(limit + 1)[0], frequencies(limit)[0])
        else:
            chosen, _ = frequencies(length)
        # Of the module itself nothing changes: a trace would take that for an output.
        module = copy.copy(module)
        module._buffers = {**module._buffers, name: chosen}
    rotated: tuple[torch.Tensor, torch.Tensor] = type(module).forward.__wrapped__(
        module, x, position_ids, **by_type
    )
    return rotated


def _phi_rotation(
    module: Any, x: torch.Tensor, position_ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Phi's, which transformers 5.24 rotates by the short factors at any length; its scale depends on it."""
    parameters = module.config.rope_parameters
    frequencies, _ = module.rope_init_fn(module.config)
    beyond = position_ids.max() + 1 > parameters["original_max_position_embeddings"]
    scale = torch.where(beyond, float(parameters["long_mscale"]), float(parameters["short_mscale"]))
    angles = position_ids[..., None].float() * frequencies.to(x.device)
    angles = torch.cat((angles, angles), dim=-1)
    return (angles.cos() * scale).to(x.dtype), (angles.sin() * scale).to(x.dtype)
