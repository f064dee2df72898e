"""The experts of a live transformers model, one after the other, with products that can be replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from hetc.huggingface.experts import STACKED, split_stack

__all__ = ["Product", "clean_products", "expert_products", "expert_weights", "run_experts"]

Product = Callable[[torch.Tensor], torch.Tensor]
"""Takes `[T, K]`, gives `[T, N]`: one matrix, or several side by side."""


def expert_weights(module: Any, index: int) -> dict[str, torch.Tensor]:
    """Weights `[N, K]` of one expert by projection, gate before up: views of the module's stacks."""
    return _expert_parts(module, index, "")


def clean_products(module: Any, index: int) -> tuple[Product, Product]:
    """Gate and up side by side, and down, of one expert's clean weights."""
    return expert_products(expert_weights(module, index))


def expert_products(weights: Mapping[str, torch.Tensor]) -> tuple[Product, Product]:
    """Gate and up side by side, and down, of one expert's weights by projection, gate before up."""
    first = [weight for projection, weight in weights.items() if projection != "down_proj"]
    return partial(_side_by_side, first), partial(_side_by_side, [weights["down_proj"]])


def run_experts(
    module: Any,
    products: Sequence[tuple[Product, Product] | None],
    hidden: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
) -> torch.Tensor:
    """`[T, H]`, `[T, K]` and `[T, K]` -> `[T, H]`, each expert on the rows that chose it.

    Args:
        module: An experts module of transformers.
        products: For each expert what computes gate and up (side by side), and down; None for its weights.
        hidden, top_k_index, top_k_weights: As the module's forward takes them.
    """
    chosen = top_k_index.flatten()
    order = chosen.argsort(stable=True)
    counts = chosen.bincount(minlength=len(products)).tolist()
    rows: Any = hidden[order // top_k_index.shape[1]]
    outputs = [
        _expert(module, index, products[index], part)
        for index, part in enumerate(rows.split(counts))
        if len(part)
    ]
    y = torch.empty_like(rows).index_copy_(0, order, torch.cat(outputs))
    weighted = y.reshape(*top_k_index.shape, -1) * top_k_weights.unsqueeze(-1)
    return weighted.sum(1).to(hidden.dtype)


def _expert_parts(module: Any, index: int, suffix: str) -> dict[str, torch.Tensor]:
    """Weights `[N, K]`, or with suffix `_bias` biases `[N]`, of one expert by projection, gate before up."""
    parts = {}
    for name, projections in STACKED.items():
        if f"{name}{suffix}" in module._parameters:
            stack = getattr(module, f"{name}{suffix}")[index]
            for projection, part in zip(
                projections, split_stack(stack, len(projections), module), strict=True
            ):
                turned = module.is_transposed and not suffix
                parts[f"{projection}_proj"] = part.mT if turned else part
    return parts


def _side_by_side(weights: Sequence[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """x times each weight `[N, K]`: products are put together, as weights would have to be copied."""
    return torch.cat([nn.functional.linear(x, weight) for weight in weights], -1)


def _expert(
    module: Any, index: int, products: tuple[Product, Product] | None, x: torch.Tensor
) -> torch.Tensor:
    """One expert; between the products of an analog one everything is float32."""
    biases = _expert_parts(module, index, "_bias")
    down_bias = biases.pop("down_proj", None)
    first, second = products or clean_products(module, index)
    h = first(x)
    if biases:
        h = h + torch.cat([*biases.values()])
    if module.has_gate:
        gate, up = h.chunk(2, -1)
        h = module._apply_gate(h if module.is_concatenated else torch.stack([gate, up], -1).flatten(-2))
    else:
        h = module.act_fn(h)
    y = second(h)
    return (y if down_bias is None else y + down_bias).to(x.dtype)
