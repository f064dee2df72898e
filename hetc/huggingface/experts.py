"""The experts of a transformers model: modules behind its experts interface, with stacked weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

__all__ = ["STACKED", "experts_modules", "split_stack"]

STACKED = {
    "gate_up_proj": ("gate", "up"),
    "gate_proj": ("gate",),
    "up_proj": ("up",),
    "down_proj": ("down",),
}
"""Stacked parameter of an experts module -> the projections that it is made of, in order."""


def experts_modules(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The modules behind transformers' experts interface, with their names."""
    for name, module in model.named_modules():
        if hasattr(module, "is_transposed") and hasattr(module, "is_concatenated"):
            yield name, module


def split_stack(joined: torch.Tensor, count: int, module: Any) -> Iterator[torch.Tensor]:
    """Gate and up out of one matrix or bias, along its outputs."""
    outputs = joined.dim() - 1 if module.is_transposed else 0
    for part in range(count):
        if module.is_concatenated:
            yield joined.chunk(count, outputs)[part]
        else:
            yield joined[part::count] if outputs == 0 else joined[:, part::count]
