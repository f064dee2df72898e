"""Watched products, put together, are the gradients that autograd finds for the weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES, VOCABULARY, olmoe, save_random_model

from hetc.hardware.profile import Profile
from hetc.huggingface.live.products import product_weights, watch_products
from hetc.huggingface.live.sensitivity import measure_model

TOKENS = np.random.default_rng(0).integers(1, VOCABULARY, (3, 12))


def weight_gradients(model: Any) -> dict[tuple[str, str], torch.Tensor]:
    """By unit and projection, of the sum of squared logits."""
    model.requires_grad_(True)
    model(torch.from_numpy(TOKENS), use_cache=False).logits.square().sum().backward()
    weights = [(parameter, parameter.data) for parameter in model.parameters()]
    for parameter, _ in weights:
        # So that the products' views of the weights are those of the gradients.
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = None
    found = {(unit, name): weight.clone() for unit, name, weight in product_weights(model)}
    for parameter, data in weights:
        parameter.data = data
    return found


@pytest.mark.parametrize("family", [*FAMILIES, "clamped"])
def test_products_of_each_family(family: str, tmp_path: Path) -> None:
    config = olmoe(clip_qkv=0.2) if family == "clamped" else FAMILIES[family][0]()
    model: Any = save_random_model(config, tmp_path)
    model.set_experts_implementation("eager")
    expected = weight_gradients(model)
    found = {key: torch.zeros_like(weight) for key, weight in expected.items()}

    def watch(
        unit: str, name: str, weight: Any, x: torch.Tensor, gradient: torch.Tensor, counts: Sequence[int]
    ) -> None:
        assert len(x) == sum(counts) and len(counts) == len(TOKENS)
        found[unit, name] += gradient.T @ x

    with watch_products(model, watch, TOKENS.shape[1]):
        model(torch.from_numpy(TOKENS), use_cache=False).logits.square().sum().backward()
    for key, gradient in expected.items():
        if config.tie_word_embeddings and key[0] == "lm_head":
            continue  # its weight has a gradient as an embedding, too
        torch.testing.assert_close(found[key], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


def test_bfloat16_weights_score_alike(tmp_path: Path) -> None:
    model = save_random_model(olmoe(), tmp_path, torch.bfloat16)
    exact = measure_model(model, "model", TOKENS, Profile()).values
    rounded = measure_model(model.to(torch.bfloat16), "model", TOKENS, Profile()).values
    assert exact != rounded
    for name in ("expected-loss", "noise-gain"):
        ours, theirs = (np.array([*values[name].values()]) for values in (exact, rounded))
        assert np.corrcoef(ours, theirs)[0, 1] > 0.99
        assert rounded[name].keys() == exact[name].keys()
