"""Functions of transformers that cannot be exported, in a form that can. They are patched in for a trace."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from types import MappingProxyType, ModuleType
from typing import Any
from unittest import mock

import torch
from transformers.models.jamba import modeling_jamba
from transformers.models.kimi_linear.modeling_kimi_linear import chunk_kimi_delta_attention
from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan
from transformers.models.minimax import modeling_minimax
from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule

from hetc.huggingface.export.recurrences import delta_rule, lightning_attention, selective_scan, state_space

__all__ = ["stand_ins", "unknown_loop"]

COMPLEX_ROTARY = {"deepseek_v2": 1, "llama4": 2}
"""Families whose rotary embedding is complex -> the axis of queries and keys that counts heads."""

LOOPS: MappingProxyType[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {
        torch_chunk_gated_delta_rule: delta_rule,
        chunk_kimi_delta_attention: delta_rule,
        mamba2_chunk_scan: state_space,
    }
)
"""Functions that loop over a prompt, of which each family has a copy -> what stands in for it."""


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
            for loop, stand_in in LOOPS.items():
                if _has_copy(module, loop):
                    stack.enter_context(mock.patch.object(module, loop.__name__, stand_in))
        mixer = modeling_jamba.JambaMambaMixer
        stack.enter_context(mock.patch.object(mixer, "forward", _continue_scan(mixer.forward)))
        lightning = modeling_minimax.MiniMaxLightningAttention
        stack.enter_context(mock.patch.object(lightning, "forward", _lightning_attention))
        yield


def unknown_loop(module: ModuleType) -> str | None:
    """The name of a function in a family's code that is called as one of `LOOPS`, but is another."""
    for loop in LOOPS:
        if loop.__name__ in vars(module) and not _has_copy(module, loop):
            return loop.__name__
    return None


def _has_copy(module: ModuleType, loop: Callable[..., Any]) -> bool:
    # Looked up in __dict__: asking some modules for an attribute imports others.
    function = vars(module).get(loop.__name__) if isinstance(module, ModuleType) else None
    return function is not None and inspect.getsource(function) == inspect.getsource(loop)


def _continue_scan(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Jamba's mixer with `selective_scan`, which goes on from the cache.

    transformers' scan starts each prompt at zero and has a function of its own for a single token. What it
    does for quantised weights is the same, but multiplies vectors by `dt_proj` as by any other matrix.
    """

    @functools.wraps(forward)
    def continued(mixer: Any, *arguments: Any, cache: Any, **options: Any) -> torch.Tensor:
        state = cache.get_recurrent_state(mixer.layer_idx, state_idx=0)
        scan = functools.partial(selective_scan, initial_state=state)
        with (
            mock.patch.object(modeling_jamba, "mamba_selective_scan", scan),
            mock.patch.object(mixer.config, "_is_quantized", True, create=True),
        ):
            mixed: torch.Tensor = forward(mixer, *arguments, cache=cache, **options)
        return mixed

    return continued


def _lightning_attention(
    layer: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None, cache: Any, **options: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """MiniMax's linear attention; the family's code has its loop over blocks, or tokens, inside."""
    mask: Any = modeling_minimax.apply_mask_to_padding_states
    mixed = mask(layer.act_fn(layer.qkv_proj(hidden_states)), attention_mask)
    heads = mixed.unflatten(-1, (layer.num_attention_heads, 3 * layer.head_dim))
    decay, state = torch.exp(-layer.slope_rate), cache.get_linear_cache(layer.layer_idx)
    query, key, value = heads.split(layer.head_dim, dim=-1)
    output, state = lightning_attention(query, key, value, decay, state)
    cache.set_linear_cache(layer.layer_idx, state)
    gated = torch.sigmoid(layer.output_gate(hidden_states)) * layer.norm(output.flatten(-2))
    return layer.out_proj(gated), state


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
