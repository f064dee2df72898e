"""Functions of transformers that cannot be exported, in a form that can. They are patched in for a trace."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch._higher_order_ops.scan import scan
from transformers.models.qwen3_next.modeling_qwen3_next import (
    torch_chunk_gated_delta_rule as _first_delta_rule,
)

__all__ = ["GATED_DELTA_RULE", "has_known_delta_rule", "stand_ins"]

COMPLEX_ROTARY = {"deepseek_v2": 1, "llama4": 2}
"""Families whose rotary embedding is complex -> the axis of queries and keys that counts heads."""

GATED_DELTA_RULE = "torch_chunk_gated_delta_rule"
"""What families with that linear attention call their copy of a function that takes 64 tokens at a time."""


@contextlib.contextmanager
def stand_ins() -> Iterator[None]:
    """Patch them into the families' modules."""
    functions: dict[str, Any] = {
        f"{family}.modeling_{family}.apply_rotary_emb": functools.partial(_rotate_by_real_numbers, heads_axis)
        for family, heads_axis in COMPLEX_ROTARY.items()
    }
    with contextlib.ExitStack() as stack:
        for name, function in functions.items():
            stack.enter_context(mock.patch(f"transformers.models.{name}", function))
        for module in list(sys.modules.values()):
            if isinstance(module, ModuleType) and has_known_delta_rule(module):
                stack.enter_context(mock.patch.object(module, GATED_DELTA_RULE, _gated_delta_rule))
        yield


def has_known_delta_rule(module: ModuleType) -> bool:
    """Whether a family's code has a copy of the function that `_gated_delta_rule` stands in for."""
    # Looked up in __dict__: asking some modules for an attribute imports others.
    function = vars(module).get(GATED_DELTA_RULE)
    return function is not None and inspect.getsource(function) == inspect.getsource(_first_delta_rule)


def _rotate_by_real_numbers(
    heads_axis: int, query: torch.Tensor, key: torch.Tensor, frequencies: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A rotary embedding whose `frequencies` are complex: the exporter lacks complex operators."""
    cosine, sine = frequencies.real.unsqueeze(heads_axis), frequencies.imag.unsqueeze(heads_axis)

    def rotate(x: torch.Tensor) -> torch.Tensor:
        first, second = x.float().reshape(*x.shape[:-1], -1, 2).unbind(-1)
        rotated = torch.stack((first * cosine - second * sine, first * sine + second * cosine), dim=-1)
        return rotated.flatten(3).type_as(x)

    return rotate(query), rotate(key)


def _gated_delta_rule(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor,
    *,
    initial_state: torch.Tensor,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gated delta rule, token by token: a loop over chunks would be unrolled for the prompt of the trace.

        S_t = exp(g_t) S_(t-1) (I - beta_t k_t k_t^T) + beta_t v_t k_t^T        out_t = S_t q_t

    Queries and keys are normalised before (Yang et al., arXiv 2412.06464).

    Args:
        query: `[batch, sequence, key heads, K]`.
        key: like query.
        value: `[batch, sequence, value heads, V]`; each key head serves as many value heads.
        g: logarithm of the decay, `[batch, sequence, value heads]`.
        beta: strength of the update, like g.
        initial_state: `[batch, value heads, K, V]`.
        options: of the function that this stands in for; they ask for nothing else.

    Returns:
        The output `[batch, sequence, value heads, V]`, and the last state.
    """
    repeats = value.shape[2] // key.shape[2]
    query, key = (_normalize(x).repeat_interleave(repeats, dim=2) for x in (query, key))
    query = query * query.shape[-1] ** -0.5

    def step(state: torch.Tensor, token: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        query, key, value, decay, beta = token
        state = state * decay
        update = (value - key.unsqueeze(-2) @ state) * beta
        state = state + key.unsqueeze(-1) @ update
        return state, query.unsqueeze(-2) @ state

    # The loop runs over the first axis; vectors along V are rows.
    tokens = (query, key, value.unsqueeze(-2), g.exp()[..., None, None], beta[..., None, None])
    state, output = scan(step, initial_state, tuple(x.transpose(0, 1) for x in tokens))
    return output.squeeze(-2).transpose(0, 1), state


def _normalize(x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.square().sum(dim=-1, keepdim=True) + 1e-6)
