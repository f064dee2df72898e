"""Scores that are measured on text, against their definitions written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from families import VOCABULARY, olmoe, qwen2_moe, save_random_model
from transformers import AutoModelForCausalLM

from hetc.base.errors import InvalidInputError, UsageError
from hetc.hardware.profile import Profile
from hetc.huggingface.live.sensitivity import measure_scores
from hetc.huggingface.live.weight_noise import mean_square_error

PROFILE = Profile(noise_scale=2.0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    save_random_model(olmoe(), folder)
    return folder


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return np.random.default_rng(0).integers(1, VOCABULARY, (3, 12))


def fisher(checkpoint: Path, windows: np.ndarray, name: str) -> torch.Tensor:
    """Squared gradients of one parameter, summed over windows with the labels that the model draws."""
    model = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, experts_implementation="eager"
    )
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros_like(model.get_parameter(name))
    for window in torch.from_numpy(windows):
        logits = model(window[None]).logits[0, :-1]
        labels = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
        loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, [model.get_parameter(name)])
        total += gradient**2
    return total


def test_expected_loss_is_half_the_fisher_information_times_the_error(
    checkpoint: Path, windows: np.ndarray
) -> None:
    losses = measure_scores(checkpoint, windows, PROFILE).values["expected-loss"]
    stacks = [f"model.layers.1.mlp.experts.{name}" for name in ("gate_up_proj", "down_proj")]
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    per_expert = sum(
        (
            fisher(checkpoint, windows, name) * mean_square_error(model.get_parameter(name).detach(), PROFILE)
        ).sum((1, 2))
        for name in stacks
    ) / (2 * windows.size)
    found = [losses[f"layers.1.experts.{expert}"] for expert in range(len(per_expert))]
    np.testing.assert_allclose(found, per_expert, rtol=1e-4)

    attention = sum(
        (
            fisher(checkpoint, windows, name) * mean_square_error(model.get_parameter(name).detach(), PROFILE)
        ).sum()
        for name in [f"model.layers.0.self_attn.{one}_proj.weight" for one in "qkvo"]
    ) / (2 * windows.size)
    assert losses["layers.0.attention"] == pytest.approx(float(attention), rel=1e-4)
    assert "lm_head" in losses
    assert not [unit for unit in losses if "router" in unit or "embedding" in unit]


def test_noise_gain_grows_with_the_square_of_small_noise(checkpoint: Path, windows: np.ndarray) -> None:
    small, double = (
        measure_scores(checkpoint, windows, Profile(noise_scale=scale)).values["noise-gain"]
        for scale in (0.01, 0.02)
    )
    used = [unit for unit, gain in small.items() if gain > 0]
    assert len(small) == 16
    assert used
    np.testing.assert_allclose([double[u] / small[u] for u in used], 4.0, rtol=0.05)


def test_measuring_again_gives_the_same(checkpoint: Path, windows: np.ndarray) -> None:
    first, second = (measure_scores(checkpoint, windows, PROFILE, seed=5) for _ in range(2))
    assert first == second
    assert first.origin["noise_scale"] == "2.0"


def test_dense_and_shared_units_are_scored(tmp_path: Path, windows: np.ndarray) -> None:
    save_random_model(qwen2_moe(), tmp_path)
    losses = measure_scores(tmp_path, windows, PROFILE).values["expected-loss"]
    assert losses["layers.0.shared_expert"] > 0


def test_bad_input_is_refused(checkpoint: Path, windows: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not in the vocabulary"):
        measure_scores(checkpoint, windows + VOCABULARY, PROFILE)
    with pytest.raises(UsageError, match="programming noise alone"):
        measure_scores(checkpoint, windows, Profile(drift_time=60.0))
