"""Shows every product of a live model that could be analog to a function, as gradients reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from hetc.huggingface.experts import experts_modules
from hetc.huggingface.live.expert_forward import Product, expert_weights, run_experts
from hetc.plan.units import DENSE
from hetc.plan.weight_roles import WeightRole, layer_name, unit_of_weight

__all__ = ["Watch", "product_weights", "watch_products"]

Watch = Callable[[str, str, torch.Tensor, torch.Tensor, torch.Tensor], None]
"""Takes unit id, projection, weight `[N, K]`, inputs `[T, K]` and the gradient of the outputs `[T, N]`."""


def product_weights(model: nn.Module) -> Iterator[tuple[str, str, torch.Tensor]]:
    """Unit id, projection and weight `[N, K]` of every product that could be analog."""
    for name, module in model.named_modules():
        role = _dense_role(name, module)
        if role is not None:
            yield role.unit_id, role.projection, _weight(module).detach()
    for path, module in experts_modules(model):
        for index in range(module.num_experts):
            for projection, part in expert_weights(module, index).items():
                yield f"{layer_name(path)}.experts.{index}", projection, part.detach()


def _dense_role(name: str, module: nn.Module) -> WeightRole | None:
    role = unit_of_weight(f"{name}.weight") if isinstance(module, (nn.Linear, Conv1D)) else None
    return role if role is not None and role.kind in DENSE else None


def _weight(module: Any) -> torch.Tensor:
    """`[N, K]`; GPT-2's layers keep it the other way."""
    weight: torch.Tensor = module.weight
    return weight.T if isinstance(module, Conv1D) else weight


@contextmanager
def watch_products(model: PreTrainedModel, watch: Watch) -> Iterator[None]:
    """Within the context a backward pass calls `watch` for every product, from the last to the first.

    The model's weights ask for no gradients: what autograd keeps are activations.

    Args:
        model: A transformers model, on any device.
        watch: Is called within `no_grad`.
    """
    model.requires_grad_(False)
    embeddings: Any = model.get_input_embeddings()
    handles = [embeddings.register_forward_hook(lambda module, args, output: output.requires_grad_(True))]
    stacks = dict(experts_modules(model))
    try:
        for name, module in model.named_modules():
            role = _dense_role(name, module)
            if role is not None:
                hook = partial(_linear_hook, partial(watch, role.unit_id, role.projection))
                handles.append(module.register_forward_hook(hook))
        for path, module in stacks.items():
            products = [
                _expert_products(module, index, partial(watch, f"{layer_name(path)}.experts.{index}"))
                for index in range(module.num_experts)
            ]
            module.forward = partial(run_experts, module, products)
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in stacks.values():
            vars(module).pop("forward", None)


def _linear_hook(
    watch: Callable[..., None], module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor
) -> None:
    _on_gradient(watch, _weight(module), args[0], output)


def _on_gradient(
    watch: Callable[..., None], weight: torch.Tensor, x: torch.Tensor, output: torch.Tensor
) -> None:
    inputs = x.detach().reshape(-1, x.shape[-1])

    def seen(gradient: torch.Tensor) -> None:
        with torch.no_grad():
            watch(weight, inputs, gradient.reshape(-1, gradient.shape[-1]))

    output.register_hook(seen)  # type: ignore[no-untyped-call]


def _expert_products(module: Any, index: int, watch: Callable[..., None]) -> tuple[Product, Product]:
    def product(projections: tuple[str, ...], x: torch.Tensor) -> torch.Tensor:
        weights = expert_weights(module, index)
        outputs = []
        for projection in projections:
            output = nn.functional.linear(x, weights[projection])
            _on_gradient(partial(watch, projection), weights[projection], x, output)
            outputs.append(output)
        return torch.cat(outputs, -1)

    first = tuple(name for name in expert_weights(module, index) if name != "down_proj")
    return partial(product, first), partial(product, ("down_proj",))
