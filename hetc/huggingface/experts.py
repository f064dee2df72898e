"""The experts of a transformers model: modules behind its experts interface, with stacked weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from hetc.base.errors import InvalidInputError

__all__ = ["STACKED", "choose_experts_function", "experts_modules", "require_known_experts", "split_stack"]

STACKED = {
    "gate_up_proj": ("gate", "up"),
    "gate_proj": ("gate",),
    "up_proj": ("up",),
    "down_proj": ("down",),
}
"""Stacked parameter of an experts module -> the projections that it is made of, in order."""

SIGN_OF_EXPERTS = re.compile(r"(?:^|\.)(?:experts?|router)(?:\.|$)")
"""Paths of modules that a dense model doesn't have."""


def experts_modules(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The modules behind transformers' experts interface, with their names."""
    for name, module in model.named_modules():
        if hasattr(module, "is_transposed") and hasattr(module, "is_concatenated"):
            yield name, module


def require_known_experts(model: nn.Module, model_type: str) -> None:
    """Takes a model whose experts are behind the interface, or that has none.

    Raises:
        InvalidInputError: A family that keeps its experts in code of its own.
    """
    if any(True for _ in experts_modules(model)):
        return
    for name, module in model.named_modules():
        if SIGN_OF_EXPERTS.search(name):
            raise InvalidInputError(
                f"{model_type}: {name} ({type(module).__name__}) is not behind transformers' experts "
                "interface; the family keeps its experts in code of its own, which hetc doesn't know"
            )


def choose_experts_function(model: Any, name: str) -> None:
    """Sets which function computes a model's experts; transformers refuses that of dense models."""
    if any(True for _ in experts_modules(model)):
        model.set_experts_implementation(name)


def split_stack(joined: torch.Tensor, count: int, module: Any) -> Iterator[torch.Tensor]:
    """Gate and up out of one matrix or bias, along its outputs."""
    outputs = joined.dim() - 1 if module.is_transposed else 0
    for part in range(count):
        if module.is_concatenated:
            yield joined.chunk(count, outputs)[part]
        else:
            yield joined[part::count] if outputs == 0 else joined[:, part::count]
