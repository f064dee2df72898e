"""Linear attention and state spaces token by token, as one scan each.

They stand in for functions of transformers that take a prompt in chunks, whose loops a trace would unroll for
the prompt that it was made with. Each has the arguments of the function that it stands in for; those that
change nothing here are `options`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._higher_order_ops.scan import scan
from torch.nn.functional import silu, softplus

__all__ = ["delta_rule", "lightning_attention", "selective_scan", "state_space"]

_Step = Callable[[torch.Tensor, tuple[torch.Tensor, ...]], tuple[torch.Tensor, torch.Tensor]]


def delta_rule(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor,
    *,
    initial_state: torch.Tensor,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gated delta rule (Yang et al., arXiv 2412.06464), and Kimi's, whose decay differs along K.

        S_t = D_t S_(t-1) - beta_t k_t (k_t^T D_t S_(t-1)) + beta_t k_t v_t^T        out_t = S_t^T q_t

    with D_t = diag(exp(g_t)). Queries and keys are normalised before.

    Args:
        query: `[batch, sequence, key heads, K]`.
        key: like query.
        value: `[batch, sequence, value heads, V]`; each key head serves as many value heads.
        g: logarithm of the decay, `[batch, sequence, value heads]` or `[batch, sequence, value heads, K]`.
        beta: strength of the update, `[batch, sequence, value heads]`.
        initial_state: `[batch, value heads, K, V]`.
        options: of the function that this stands in for.

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

    decay = g.exp().unsqueeze(-1)
    if g.dim() == beta.dim():
        decay = decay.unsqueeze(-1)
    # Vectors along V are rows.
    output, state = _scan(step, initial_state, query, key, value.unsqueeze(-2), decay, beta[..., None, None])
    return output.squeeze(-2), state


def lightning_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, decay: torch.Tensor, state: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lightning attention (Qin et al., arXiv 2405.17381).

        S_t = decay S_(t-1) + k_t v_t^T        out_t = S_t^T q_t

    Args:
        query: `[batch, sequence, heads, K]`.
        key: like query.
        value: `[batch, sequence, heads, V]`.
        decay: of each head, `[heads, 1, 1]`.
        state: `[batch, heads, K, V]`.

    Returns:
        The output `[batch, sequence, heads, V]`, and the last state.
    """

    def step(state: torch.Tensor, token: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        query, key, value = token
        state = state * decay + key.unsqueeze(-1) @ value
        return state, query @ state

    output, state = _scan(step, state, query.unsqueeze(-2), key, value.unsqueeze(-2))
    return output.squeeze(-2), state


def state_space(
    hidden_states: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor,
    dt_bias: torch.Tensor,
    *,
    initial_states: torch.Tensor,
    dt_limit: tuple[float, float],
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mamba-2 (Dao and Gu, arXiv 2405.21060), with `d_t = clamp(softplus(dt + dt_bias), dt_limit)`.

        S_t = exp(d_t A) S_(t-1) + d_t x_t B_t^T        out_t = S_t C_t + D x_t

    Args:
        hidden_states: x, `[batch, sequence, heads, P]`.
        dt: `[batch, sequence, heads]`.
        A: `[heads]`.
        B: `[batch, sequence, groups, N]`; each group serves as many heads.
        C: like B.
        D: `[heads]`.
        dt_bias: `[heads]`.
        initial_states: `[batch, heads, P, N]`.
        dt_limit: smallest and largest time step.
        options: of the function that this stands in for.

    Returns:
        The output `[batch, sequence, heads, P]`, and the last state.
    """
    times = softplus(dt + dt_bias).clamp(*dt_limit)
    repeats = hidden_states.shape[2] // B.shape[2]
    B, C = (x.repeat_interleave(repeats, dim=2) for x in (B, C))
    inputs = hidden_states * times.unsqueeze(-1)

    def step(state: torch.Tensor, token: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        decay, inputs, B, C = token
        state = state * decay + inputs.unsqueeze(-1) @ B
        return state, state @ C.unsqueeze(-1)

    decay = (times * A).exp()[..., None, None]
    output, state = _scan(step, initial_states, decay, inputs, B.unsqueeze(-2), C)
    return output.squeeze(-1) + hidden_states * D.unsqueeze(-1), state


def selective_scan(
    hidden_states: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor,
    z: torch.Tensor,
    delta_bias: torch.Tensor,
    *,
    initial_state: torch.Tensor,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mamba (Gu and Dao, arXiv 2312.00752), with `d_t = softplus(dt + delta_bias)`.

        S_t = exp(d_t A) S_(t-1) + d_t x_t B_t^T        out_t = (S_t C_t + D x_t) silu(z_t)

    Args:
        hidden_states: x, `[batch, P, sequence]`.
        dt: like hidden_states.
        A: `[P, N]`.
        B: `[batch, N, sequence]`.
        C: like B.
        D: `[P]`.
        z: gate, like hidden_states.
        delta_bias: `[P]`.
        initial_state: `[batch, P, N]`.
        options: of the function that this stands in for.

    Returns:
        The output `[batch, P, sequence]`, and the last state.
    """
    times = softplus(dt + delta_bias.unsqueeze(-1))

    def step(state: torch.Tensor, token: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        times, inputs, B, C = token
        state = state * (times * A).exp() + inputs @ B
        return state, state @ C

    tokens = (x.transpose(1, 2) for x in (times, hidden_states * times, B, C))
    times, inputs, B, C = tokens
    output, state = _scan(
        step, initial_state, times.unsqueeze(-1), inputs.unsqueeze(-1), B.unsqueeze(-2), C.unsqueeze(-1)
    )
    return (output.squeeze(-1).transpose(1, 2) + hidden_states * D.unsqueeze(-1)) * silu(z), state


def _scan(step: _Step, state: torch.Tensor, *tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Run over the second axis of `tokens`; the outputs `[batch, sequence, ...]` and the last state."""
    state, output = scan(step, state, tuple(x.transpose(0, 1) for x in tokens))
    return output.transpose(0, 1), state


def _normalize(x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.square().sum(dim=-1, keepdim=True) + 1e-6)
