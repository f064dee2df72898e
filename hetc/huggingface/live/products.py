"""Shows every product of a live model that could be analog to a function, as gradients reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from hetc.huggingface.experts import experts_modules
from hetc.huggingface.live.expert_forward import Product, expert_weights, run_experts
from hetc.plan.units import DENSE
from hetc.plan.weight_roles import WeightRole, layer_name, unit_of_weight

__all__ = ["Watch", "product_weights", "watch_products"]

Watch = Callable[[str, str, torch.Tensor, torch.Tensor, torch.Tensor, Sequence[int]], None]
"""Takes unit id, projection, weight `[N, K]`, inputs `[T, K]`, the gradient of the outputs `[T, N]`, and how
many of the T tokens are of the first window, of the second, ..."""

Seen = Callable[[torch.Tensor, torch.Tensor], None]
"""Takes the inputs of a product and the gradient of its outputs."""


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
def watch_products(model: PreTrainedModel, watch: Watch, window: int) -> Iterator[None]:
    """Within the context a backward pass calls `watch` for every product, from the last to the first.

    The model's weights ask for no gradients, and of a decoder layer only the inputs are kept: the rest is
    calculated again when the backward pass comes to it.

    Args:
        model: A transformers model, on any device.
        watch: Is called without gradients being recorded.
        window: Tokens in a row of what the model is run on.
    """
    model.requires_grad_(False)
    embeddings: Any = model.get_input_embeddings()
    handles = [embeddings.register_forward_hook(lambda module, args, output: output.requires_grad_(True))]
    changed: list[Any] = []
    try:
        for name, module in model.named_modules():
            role = _dense_role(name, module)
            if role is not None:
                seen = partial(watch, role.unit_id, role.projection)
                handles.append(module.register_forward_hook(partial(_linear_hook, seen, window)))
        for path, module in experts_modules(model):
            module.forward = partial(_run_watched, module, layer_name(path), watch, window)
            changed.append(module)
        for layer in (one for one in model.modules() if isinstance(one, GradientCheckpointingLayer)):
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
            changed.append(layer)
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in changed:
            del module.forward


class _Watched(torch.autograd.Function):
    """The outputs of a product as they are, whose gradients are shown on their way back.

    The inputs are saved as autograd saves them, so that a checkpointed layer doesn't keep them.
    """

    @staticmethod
    def forward(ctx: Any, output: torch.Tensor, x: torch.Tensor, seen: Seen) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.seen = seen
        # A copy: some models clamp their products in place.
        return output.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (x,) = ctx.saved_tensors
        ctx.seen(x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1]))
        return gradient, None, None


def _linear_hook(
    watch: Callable[..., None], window: int, module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor
) -> torch.Tensor:
    def seen(x: torch.Tensor, gradient: torch.Tensor) -> None:
        watch(_weight(module), x, gradient, [window] * (len(x) // window))

    return _watched(output, args[0], seen)


def _watched(output: torch.Tensor, x: torch.Tensor, seen: Seen) -> torch.Tensor:
    found: torch.Tensor = _Watched.apply(output, x, seen)  # type: ignore[no-untyped-call]
    return found


def _run_watched(
    module: Any,
    layer: str,
    watch: Watch,
    window: int,
    hidden: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
) -> torch.Tensor:
    """The experts' forward, whose products are watched."""
    windows = len(hidden) // window
    cells = top_k_index * windows + torch.arange(len(hidden), device=hidden.device)[:, None] // window
    counts = cells.flatten().bincount(minlength=module.num_experts * windows).reshape(-1, windows).tolist()
    products = [
        _expert_products(module, index, partial(watch, f"{layer}.experts.{index}"), of_expert)
        for index, of_expert in enumerate(counts)
    ]
    return run_experts(module, products, hidden, top_k_index, top_k_weights)


def _expert_products(
    module: Any, index: int, watch: Callable[..., None], counts: list[int]
) -> tuple[Product, Product]:
    weights = expert_weights(module, index)

    def product(projections: Sequence[str], x: torch.Tensor) -> torch.Tensor:
        outputs = []
        for projection in projections:
            weight = weights[projection]

            def seen(x: torch.Tensor, gradient: torch.Tensor, of: str = projection) -> None:
                watch(of, weights[of], x, gradient, counts)

            outputs.append(_watched(nn.functional.linear(x, weight), x, seen))
        return torch.cat(outputs, -1)

    first = [name for name in weights if name != "down_proj"]
    return partial(product, first), partial(product, ["down_proj"])
