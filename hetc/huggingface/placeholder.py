"""The experts function that transformers calls while a model is traced: it leaves a placeholder in the graph.

transformers 5 keeps the experts of a layer as stacked parameters behind a registry of functions
`experts(hidden [T, H], top_k_index [T, K], top_k_weights [T, K]) -> [T, H]`. Routing stays outside, as
ordinary operators.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, _default_apply_gate

from hetc.errors import InvalidInputError
from hetc.operators.schemas import DOMAIN, VERSION
from hetc.passes.expand_experts import PLACEHOLDER

__all__ = ["SHAPES_ONLY", "TRACED", "experts_modules", "prepare_experts"]

TRACED = "hetc"
"""Name of the experts function that leaves a placeholder."""

SHAPES_ONLY = "hetc_shapes"
"""Name of the experts function that only has the right shape."""

# transformers' names of the activations that operators of domain `hetc` know.
ACTIVATION_NAMES = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
}
ACTIVATIONS = {type(ACT2FN[theirs]): ours for theirs, ours in ACTIVATION_NAMES.items()}


def experts_modules(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The modules behind transformers' experts interface, with their names."""
    for name, module in model.named_modules():
        if hasattr(module, "is_transposed") and hasattr(module, "is_concatenated"):
            yield name, module


def prepare_experts(model: nn.Module, model_type: str) -> None:
    """Check that every experts module computes what `hetc::Expert` does, and note its path and activation.

    Raises:
        InvalidInputError: no such modules, or one with a property that hetc has no operator for.
    """
    found = False
    for name, module in experts_modules(model):
        found = True
        reason = _reason_to_refuse(module)
        if reason:
            raise InvalidInputError(f"{model_type}: {name} ({type(module).__name__}) {reason}")
        module.hetc_path = name
        module.hetc_activation = ACTIVATIONS[type(module.act_fn)]
    if not found:
        raise InvalidInputError(
            f"{model_type}: no MoE layer behind transformers' experts interface; the model is dense, or its "
            "family keeps its experts in code of its own"
        )


def _reason_to_refuse(module: Any) -> str | None:
    if module.is_transposed:
        return "stores its weights transposed (is_transposed), which is not supported"
    if not module.is_concatenated:
        return "interleaves gate and up (is_concatenated is off), which is not supported"
    if module.has_bias:
        return "has biases in its stacked experts (has_bias), which is not supported"
    if module.has_post_expert_norm:
        return "normalises after each expert (has_post_expert_norm), which is not supported"
    if module.has_gate and type(module)._apply_gate is not _default_apply_gate:
        return "has a gate of its own (_apply_gate) instead of act(gate) * up, which is not supported"
    if type(module.act_fn) not in ACTIVATIONS:
        known = ", ".join(sorted(set(ACTIVATION_NAMES)))
        return f"uses the activation {type(module.act_fn).__name__}; supported are {known}"
    return None


def _placeholder(
    module: nn.Module, hidden: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{PLACEHOLDER}",
        (hidden, top_k_index, top_k_weights),
        {
            "path": str(module.hetc_path),
            "activation": str(module.hetc_activation),
            "top_k": int(top_k_index.shape[-1]),
            "hidden_size": int(hidden.shape[-1]),
        },
        dtype=hidden.dtype,
        shape=hidden.shape,
        version=VERSION,
    )


def _shapes_only(
    module: nn.Module, hidden: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    return torch.empty_like(hidden)


ALL_EXPERTS_FUNCTIONS.register(TRACED, _placeholder)
ALL_EXPERTS_FUNCTIONS.register(SHAPES_ONLY, _shapes_only)
