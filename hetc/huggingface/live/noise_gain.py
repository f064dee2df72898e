"""`noise-gain`: what programming noise does to the output of each expert, by itself."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hetc.hardware.profile import Profile
from hetc.huggingface.experts import experts_modules
from hetc.huggingface.live.expert_forward import Product, expert_weights, run_experts
from hetc.huggingface.live.weight_noise import draw_weights
from hetc.plan.weight_roles import layer_name

__all__ = ["noise_gain"]

DRAWS = 2


def noise_gain(model: PreTrainedModel, tokens: torch.Tensor, profile: Profile, seed: int) -> dict[str, float]:
    """Squared error of each expert's weighted output per token of text, by unit id; nothing without experts.

    The clean model runs over all windows at once, and beside it one expert at a time with noisy weights.

    Args:
        model: A transformers model.
        tokens: `[windows, window]`.
        profile: Its programming noise.
        seed: Of the draws.

    Raises:
        UsageError: The profile ages the array.
    """
    generator = torch.Generator(tokens.device).manual_seed(seed)
    stacks = dict(experts_modules(model))
    gains: dict[str, float] = {}
    if not stacks:
        return gains
    for path, module in stacks.items():
        module.forward = partial(_measured, module, layer_name(path), profile, generator, gains)
    try:
        with torch.no_grad():
            model.base_model(tokens, use_cache=False)
    finally:
        for module in stacks.values():
            vars(module).pop("forward", None)
    return {unit: total / (tokens.numel() * DRAWS) for unit, total in gains.items()}


def _measured(
    module: Any,
    layer: str,
    profile: Profile,
    generator: torch.Generator,
    gains: dict[str, float],
    hidden: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
) -> torch.Tensor:
    """The experts' forward, which adds to `gains` what each expert's noise changes."""
    clean: list[tuple[Product, Product] | None] = [None] * module.num_experts
    for index in range(module.num_experts):
        chosen, place = (top_k_index == index).nonzero(as_tuple=True)
        gain = 0.0
        if len(chosen):
            # The expert's own rows alone, each with itself as its one choice.
            rows = hidden[chosen], top_k_index[chosen, place, None], top_k_weights[chosen, place, None]
            expected = run_experts(module, clean, *rows)
            for _ in range(DRAWS):
                weights = {
                    projection: draw_weights(weight, profile, generator)
                    for projection, weight in expert_weights(module, index).items()
                }
                noisy = [*clean]
                noisy[index] = _products(weights)
                error = (run_experts(module, noisy, *rows) - expected).square()
                gain += float(error.sum(dtype=torch.float64))
        gains[f"{layer}.experts.{index}"] = gain
    return run_experts(module, clean, hidden, top_k_index, top_k_weights)


def _products(weights: dict[str, torch.Tensor]) -> tuple[Product, Product]:
    def side_by_side(names: list[str], x: torch.Tensor) -> torch.Tensor:
        return torch.cat([nn.functional.linear(x, weights[name].to(x.dtype)) for name in names], -1)

    first = [name for name in weights if name != "down_proj"]
    return partial(side_by_side, first), partial(side_by_side, ["down_proj"])
