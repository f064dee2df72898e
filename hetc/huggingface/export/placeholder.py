"""The experts function that transformers calls while a model is traced: it leaves a placeholder in the graph.

transformers 5 keeps the experts of a layer as stacked parameters behind a registry of functions
`experts(hidden [T, H], top_k_index [T, K], top_k_weights [T, K]) -> [T, H]`. Routing stays outside, as
ordinary operators.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from hetc.base.errors import InvalidInputError
from hetc.huggingface.experts import experts_modules, require_known_experts
from hetc.operators.activations import CLAMPED_SWISH, SOFTCAPPED_SWISH
from hetc.operators.schemas import DOMAIN, VERSION
from hetc.passes.rewrite.expand_experts import PLACEHOLDER
from hetc.plan.weight_roles import encoder_layers, layer_name, layer_of

__all__ = ["SHAPES_ONLY", "TRACED", "prepare_experts"]

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
    "relu6": "relu6",
    "leaky_relu": "leaky_relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "hardswish": "hard_swish",
}
LEAKY_SLOPE = 0.01
"""Of transformers' leaky ReLU."""

# Where modules of transformers keep the parameters of a gate of their own.
LIMITS = ("limit", "swiglu_limit")
ALPHAS = ("alpha", "swiglu_alpha")

_Attributes = dict[str, str | float | int]


def prepare_experts(model: nn.Module, model_type: str) -> None:
    """Check that every experts module computes what `hetc::Expert` does, and note its path and activation.

    Raises:
        InvalidInputError: experts that are no such modules, or one with a property that hetc has no operator
            for.
    """
    require_known_experts(model, model_type)
    more = encoder_layers(layer for name, _ in model.named_modules() if (layer := layer_of(name)) is not None)
    for name, module in experts_modules(model):
        reason = _reason_to_refuse(module)
        if reason:
            raise InvalidInputError(f"{model_type}: {name} ({type(module).__name__}) {reason}")
        module.hetc_path = name
        module.hetc_layer = layer_name(name, more)
        module.hetc_attributes = {
            "transpose_weight": int(not module.is_transposed),
            **((_gated_activation(module) if module.has_gate else _plain_activation(module)) or {}),
        }


def _reason_to_refuse(module: Any) -> str | None:
    if module.has_post_expert_norm:
        return "normalises after each expert (has_post_expert_norm), which is not supported"
    if module.has_gate and _gated_activation(module):
        return None
    if hasattr(module, "act_fn") and _plain_activation(module) is None:
        known = ", ".join(sorted(set(ACTIVATION_NAMES)))
        name = getattr(module.act_fn, "__name__", type(module.act_fn).__name__)
        return f"uses the activation {name}; supported are {known}"
    if module.has_gate:
        return "combines gate and up in a way of its own (_apply_gate), which is not supported"
    return None


def _plain_activation(module: Any) -> _Attributes | None:
    """The module's activation, recognised by what it computes rather than by how it is written."""
    points = torch.linspace(-8, 8, 161)
    try:
        computed = module.act_fn(points)
    except (AttributeError, TypeError):  # there is none, or it takes gate and up together
        return None
    for theirs, ours in ACTIVATION_NAMES.items():
        if torch.allclose(computed, ACT2FN[theirs](points), rtol=1e-6, atol=1e-6):
            slope = {"activation_alpha": LEAKY_SLOPE} if ours == "leaky_relu" else {}
            return {"activation": ours, **slope}
    return None


def _gated_activation(module: Any) -> _Attributes | None:
    """How the module combines gate and up, recognised in the same way."""
    found = {name: getattr(module, name, None) for name in (*LIMITS, *ALPHAS)}
    numbers = {name: float(value) for name, value in found.items() if isinstance(value, float | int)}
    limits = [numbers[name] for name in LIMITS if math.isfinite(numbers.get(name, math.inf))]
    alphas = [1.0, *(numbers[name] for name in ALPHAS if name in numbers)]
    # Far enough out that every bound acts.
    reach = 2 * max([10.0, *limits])
    grid = torch.linspace(-reach, reach, 81)
    gate, up = (axis.flatten() for axis in torch.meshgrid(grid, grid, indexing="ij"))
    stack = torch.stack((gate, up))
    with torch.no_grad():
        computed = module._apply_gate((stack if module.is_concatenated else stack.T).reshape(1, -1))

    def agrees(expected: torch.Tensor) -> bool:
        return computed.shape == (1, len(gate)) and torch.allclose(
            computed[0], expected, rtol=1e-5, atol=1e-5
        )

    plain = _plain_activation(module)
    if plain and agrees(module.act_fn(gate) * up):
        return plain
    for limit, alpha, beta in itertools.product(limits, alphas, (0.0, 1.0)):
        z = gate.clamp(max=limit)
        if agrees(z * torch.sigmoid(alpha * z) * (up.clamp(-limit, limit) + beta)):
            return {
                "activation": CLAMPED_SWISH,
                "activation_alpha": alpha,
                "activation_beta": beta,
                "activation_limit": limit,
            }
    caps = [getattr(getattr(module, "act_fn", None), name, None) for name in ("gate_softcap", "up_softcap")]
    gate_cap, up_cap = (float(getattr(cap, "softcap", 0)) for cap in caps)
    if gate_cap > 0 and up_cap > 0:
        capped = gate_cap * torch.tanh(gate / gate_cap) * (up_cap * torch.tanh(up / up_cap))
        if agrees(capped * torch.sigmoid(gate)):
            return {
                "activation": SOFTCAPPED_SWISH,
                "activation_gate_cap": gate_cap,
                "activation_up_cap": up_cap,
            }
    return None


def _placeholder(
    module: nn.Module, hidden: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    attributes: Any = module.hetc_attributes
    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{PLACEHOLDER}",
        (hidden, top_k_index, top_k_weights),
        {
            "path": str(module.hetc_path),
            "layer": str(module.hetc_layer),
            **attributes,
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
