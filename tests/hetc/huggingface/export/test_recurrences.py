"""Scans token by token against the functions of transformers that they stand in for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import MiniMaxConfig  # noqa: E402
from transformers.models.jamba.modeling_jamba import mamba_selective_scan  # noqa: E402
from transformers.models.kimi_linear.modeling_kimi_linear import chunk_kimi_delta_attention  # noqa: E402
from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan  # noqa: E402
from transformers.models.minimax.modeling_minimax import MiniMaxLightningAttention  # noqa: E402
from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule  # noqa: E402

from hetc.huggingface.cache import empty_cache  # noqa: E402
from hetc.huggingface.export import recurrences  # noqa: E402
from hetc.huggingface.export.recurrences import delta_rule, selective_scan, state_space  # noqa: E402
from hetc.huggingface.export.stand_ins import stand_ins  # noqa: E402

TOKENS = 150
"""More than two chunks of 64."""


def loop(step: Callable[..., Any], state: Any, tokens: tuple[Any, ...]) -> tuple[Any, Any]:
    """What `scan` computes, without compiling it."""
    outputs = []
    for token in zip(*tokens, strict=True):
        state, output = step(state, token)
        outputs.append(output)
    return state, torch.stack(outputs)


@pytest.fixture(autouse=True)
def plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrences, "scan", loop)


def random(*shape: int, seed: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_close(actual: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("function", "key_heads", "decay"),
    [(torch_chunk_gated_delta_rule, 2, ()), (chunk_kimi_delta_attention, 4, (8,))],
)
def test_delta_rule(function: Any, key_heads: int, decay: tuple[int, ...]) -> None:
    query, key = (random(2, TOKENS, key_heads, 8, seed=seed) for seed in (1, 2))
    value = random(2, TOKENS, 4, 6, seed=3)
    strength, state = random(2, TOKENS, 4, seed=4).sigmoid(), random(2, 4, 8, 6, seed=5)
    decay_logarithm = -random(2, TOKENS, 4, *decay, seed=6).exp()
    options = {"output_final_state": True, "use_qk_l2norm_in_kernel": True, "initial_state": state}
    inputs = (query, key, value, decay_logarithm, strength)
    assert_close(delta_rule(*inputs, **options), function(*inputs, **options))


def test_state_space() -> None:
    x, dt = random(2, TOKENS, 4, 6, seed=1), random(2, TOKENS, 4, seed=2)
    into, out = (random(2, TOKENS, 2, 8, seed=seed) for seed in (3, 4))
    decay = -random(4, seed=5).exp()
    options = {
        "chunk_size": 32,
        "D": random(4, seed=6),
        "z": None,
        "dt_bias": random(4, seed=7),
        "dt_softplus": True,
        "dt_limit": (0.2, 1.5),
        "initial_states": random(2, 4, 6, 8, seed=8),
        "return_final_states": True,
    }
    assert_close(
        state_space(x, dt, decay, into, out, **options), mamba2_chunk_scan(x, dt, decay, into, out, **options)
    )


def test_selective_scan_goes_on() -> None:
    x, dt, gate = (random(2, 6, TOKENS, seed=seed) for seed in (1, 2, 3))
    into, out = (random(2, 8, TOKENS, seed=seed) for seed in (4, 5))
    decay, skip, bias = -random(6, 8, seed=6).exp(), random(6, seed=7), random(6, seed=8)
    expected = mamba_selective_scan(
        x, dt, decay, into, out, skip, gate, bias, delta_softplus=True, return_last_state=True
    )
    outputs, state = [], torch.zeros(2, 6, 8)
    for part in (slice(0, 100), slice(100, TOKENS)):
        inputs = (tensor[..., part] for tensor in (into, out))
        output, state = selective_scan(
            x[..., part], dt[..., part], decay, *inputs, skip, gate[..., part], bias, initial_state=state
        )
        outputs.append(output)
    assert_close((torch.cat(outputs, dim=-1), state), expected)


def test_lightning_attention() -> None:
    config = MiniMaxConfig(
        hidden_size=16,
        num_attention_heads=2,
        head_dim=8,
        num_hidden_layers=2,
        block_size=64,
        layer_types=["linear_attention", "full_attention"],
    )
    layer = MiniMaxLightningAttention(config, 0).eval()
    hidden = random(2, TOKENS, 16, seed=1)
    mask = torch.ones(2, TOKENS, dtype=torch.bool)
    mask[0, :5] = False
    with torch.no_grad():
        expected = layer(hidden, None, mask, None)
        cache: Any = empty_cache(config)
        cache.set_linear_cache(0, torch.zeros(2, 2, 8, 8))
        with stand_ins():
            actual = layer(hidden_states=hidden, position_embeddings=None, attention_mask=mask, cache=cache)
    assert_close(actual, expected)
    assert torch.equal(cache.get_linear_cache(0), actual[1])
