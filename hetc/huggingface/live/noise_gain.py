"""`noise-gain`: what programming noise does to the output of each expert, by itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from hetc.base.errors import UsageError
from hetc.base.progress import progress
from hetc.hardware.profile import Profile
from hetc.huggingface.experts import experts_modules
from hetc.huggingface.live.expert_forward import Product, expert_products, expert_weights, run_experts
from hetc.plan.weight_roles import layer_name
from hetc.runtimes.reference.programming import program
from hetc.runtimes.reference.settings import Crossbar, crossbar_of

__all__ = ["noise_gain"]

DRAWS = 2


def noise_gain(model: PreTrainedModel, tokens: torch.Tensor, profile: Profile, seed: int) -> dict[str, float]:
    """Squared error of each expert's weighted output per token of text, by unit id; nothing without experts.

    The clean model runs over all windows at once, and beside it one expert at a time with noisy weights, in
    float32. What an expert draws depends on the seed and its place in the model alone, on any device.

    Args:
        model: A transformers model.
        tokens: `[windows, window]`.
        profile: Its programming noise.
        seed: Of the draws.

    Raises:
        UsageError: The profile ages the array.
    """
    stacks = dict(experts_modules(model))
    gains: dict[str, float] = {}
    if not stacks:
        return gains
    if profile.noise.times or profile.drift_time > 0 or profile.flicker_noise > 0:
        raise UsageError(
            f"profile {profile.name!r}: scores look at programming noise alone; choose one with "
            "drift_time 0, flicker_noise 0 and a noise model of one time"
        )
    crossbar = crossbar_of(profile, "noisy", seed=seed, store="float32")
    most = max(module.num_experts for module in stacks.values())
    experts = sum(module.num_experts for module in stacks.values())
    try:
        with torch.no_grad(), progress("measuring noise", experts) as advance:
            for number, (path, module) in enumerate(stacks.items()):
                gain = partial(_gain, module, crossbar, number * most)
                module.forward = partial(_measured, module, layer_name(path), gain, gains, advance)
            model.base_model(tokens, use_cache=False)
    finally:
        for module in stacks.values():
            vars(module).pop("forward", None)
    return {unit: total / (tokens.numel() * DRAWS) for unit, total in gains.items()}


def _measured(
    module: Any,
    layer: str,
    gain: Callable[..., float],
    gains: dict[str, float],
    advance: Callable[[int], None],
    hidden: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
) -> torch.Tensor:
    """The experts' forward, which adds to `gains` what each expert's noise changes."""
    for index in range(module.num_experts):
        chosen, place = (top_k_index == index).nonzero(as_tuple=True)
        # The expert's own rows alone, each with itself as its one choice.
        rows = hidden[chosen].float(), top_k_index[chosen, place, None], top_k_weights[chosen, place, None]
        gains[f"{layer}.experts.{index}"] = gain(index, rows) if len(chosen) else 0.0
        advance(1)
    clean: list[None] = [None] * module.num_experts
    return run_experts(module, clean, hidden, top_k_index, top_k_weights)


def _gain(
    module: Any,
    crossbar: Crossbar,
    first: int,
    index: int,
    rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> float:
    """Squared error of one expert's weighted outputs, summed over its rows and over draws.

    `first` is the number of the layer's first expert among all.
    """

    def outputs(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        products: list[tuple[Product, Product] | None] = [None] * module.num_experts
        products[index] = expert_products(weights)
        return run_experts(module, products, *rows)

    weights = {projection: weight.float() for projection, weight in expert_weights(module, index).items()}
    expected = outputs(weights)
    total = 0.0
    for draw in range(DRAWS):
        stream = ((first + index) * DRAWS + draw) * len(weights)
        noisy = {
            name: program(weight, crossbar, number, transpose_weight=True).T
            for number, (name, weight) in enumerate(weights.items(), stream)
        }
        total += float((outputs(noisy) - expected).square().sum(dtype=torch.float64))
    return total
