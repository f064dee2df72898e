"""Scores that are measured on text, against their definitions written out."""

from __future__ import annotations

import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import VOCABULARY, olmoe, qwen2_moe, save_random_model
from squared_errors import squared_errors
from transformers import AutoModelForCausalLM, LlamaConfig

from hetc.base.errors import InvalidInputError, UsageError
from hetc.hardware.profile import Profile
from hetc.huggingface.experts import experts_modules
from hetc.huggingface.live.labels import draw_labels
from hetc.huggingface.live.products import product_weights, watch_products
from hetc.huggingface.live.recording import Recording
from hetc.huggingface.live.sensitivity import measure_scores
from hetc.runtimes.reference import program
from hetc.runtimes.reference.settings import crossbar_of

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
    total = torch.zeros_like(model.get_parameter(name))
    for index, window in enumerate(torch.from_numpy(windows)):
        logits = model(window[None]).logits[0, :-1]
        labels = draw_labels(logits.detach().softmax(-1)[None], index, seed=0)[0]
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
        (fisher(checkpoint, windows, name) * squared_errors(model.get_parameter(name), PROFILE)).sum((1, 2))
        for name in stacks
    ) / (2 * windows.size)
    found = [losses[f"layers.1.experts.{expert}"] for expert in range(len(per_expert))]
    np.testing.assert_allclose(found, per_expert, rtol=1e-4)

    attention = sum(
        (fisher(checkpoint, windows, name) * squared_errors(model.get_parameter(name), PROFILE)).sum()
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


def test_noise_gain_is_of_the_draws_that_programming_makes(checkpoint: Path, windows: np.ndarray) -> None:
    """An expert's own, from the outputs of its MLP with each matrix programmed by its stream."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    gains = measure_scores(checkpoint, windows, PROFILE, seed=5).values["noise-gain"]
    crossbar = crossbar_of(PROFILE, "noisy", seed=5, store="float32")
    _, second = dict(experts_modules(model)).values()
    calls: list[tuple[torch.Tensor, ...]] = []
    second.register_forward_pre_hook(lambda _, given: calls.append(given))
    with torch.no_grad():
        model(torch.from_numpy(windows))
    hidden, chosen, weights = calls[0]
    gate_up, down = (second.get_parameter(name).data[3].float() for name in ("gate_up_proj", "down_proj"))
    gate, up = gate_up.chunk(2)

    def output(gate: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
        return (torch.nn.functional.silu(hidden @ gate.T) * (hidden @ up.T)) @ down.T

    share = (weights * (chosen == 3)).sum(1, keepdim=True)
    expected = 0.0
    for draw in range(2):
        first = ((second.num_experts + 3) * 2 + draw) * 3
        noisy = (
            program(one, crossbar, first + index, transpose_weight=True).T
            for index, one in enumerate((gate, up, down))
        )
        expected += float((share * (output(*noisy) - output(gate, up, down))).square().sum())
    assert gains["layers.1.experts.3"] == pytest.approx(expected / (2 * windows.size), rel=1e-4)


def test_aged_arrays_are_refused(checkpoint: Path, windows: np.ndarray) -> None:
    with pytest.raises(UsageError, match="programming noise alone"):
        measure_scores(checkpoint, windows, Profile(drift_time=3600.0))


def test_without_experts_nothing_is_drawn(tmp_path: Path, windows: np.ndarray) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    save_random_model(LlamaConfig(vocab_size=VOCABULARY, **sizes), tmp_path)
    scores = measure_scores(tmp_path, windows, Profile(drift_time=3600.0))
    assert [*scores.values] == ["expected-loss"]
    assert scores.values["expected-loss"]["layers.0.mlp"] > 0


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
    with pytest.raises(InvalidInputError, match="down_proj of unit holds NaN"):
        Recording(PROFILE, [("unit", "down_proj", torch.tensor([[1.0, torch.nan]]))])


def test_neurons_share_their_units_loss(checkpoint: Path, windows: np.ndarray) -> None:
    scores = measure_scores(checkpoint, windows, PROFILE)
    neurons, losses = scores.neurons["expected-loss"], scores.values["expected-loss"]
    assert neurons.keys() == losses.keys()
    for unit, loss in losses.items():
        assert neurons[unit].sum() == pytest.approx(loss, rel=1e-4)
    assert {len(neurons["layers.0.experts.0"]), len(neurons["lm_head"])} == {
        AutoModelForCausalLM.from_pretrained(checkpoint).config.intermediate_size,
        VOCABULARY,
    }


def test_sensitivities_are_sums_over_tokens(checkpoint: Path, windows: np.ndarray) -> None:
    recorded = measure_scores(checkpoint, windows, PROFILE).sensitivities
    assert recorded is not None
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    linear = model.model.layers[1].self_attn.v_proj
    seen: list[torch.Tensor] = []

    def keep(module: Any, args: Any, output: torch.Tensor) -> None:
        seen.append(args[0][0].detach())
        output.register_hook(lambda gradient: seen.append(gradient[0]))

    linear.register_forward_hook(keep)
    for index, window in enumerate(torch.from_numpy(windows)):
        logits = model(window[None]).logits[0, :-1]
        labels = draw_labels(logits.detach().softmax(-1)[None], index, seed=0)[0]
        torch.nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
    x, g, w = torch.cat(seen[::2]), torch.cat(seen[1::2]), linear.weight.detach()
    found = recorded.of("layers.1.attention", "v_proj")
    r2, tokens = x.abs().amax(1) ** 2, windows.size
    expected = {
        "rows": (g**2).sum(1) @ x**2,
        "columns": (x**2).sum(1) @ g**2,
        "fisher": (g**2).sum(0),
        "converted": r2 @ (g @ w) ** 2,
        "inputs": (x**2 * (g @ w) ** 2).sum(0),
        "reach": (r2 @ g**2)[None],
        "signal": ((g * (x @ w.T)) ** 2).sum(0)[None],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(found, name), value / tokens, rtol=1e-3, err_msg=name)
    limit = PROFILE.out_bound * r2.sqrt()[:, None] * w.abs().amax(1)
    excess = (g**2 * ((x @ w.T).abs() - limit / 2).clamp_min(0) ** 2).sum(0) / tokens
    np.testing.assert_allclose(found.clipped[0, 0], excess, rtol=1e-3, atol=1e-12)


def test_units_that_no_token_passes_cost_nothing(checkpoint: Path) -> None:
    scores = measure_scores(checkpoint, np.ones((1, 2), np.int64), PROFILE)
    losses = scores.values["expected-loss"]
    idle = [unit for unit, loss in losses.items() if ".experts." in unit and loss == 0]
    assert idle
    assert scores.sensitivities is not None
    assert not scores.sensitivities.of(idle[0], "up_proj").reach.any()


def test_measuring_keeps_vectors_alone(checkpoint: Path, windows: np.ndarray) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    recording = Recording(PROFILE, product_weights(model))
    with watch_products(model, recording.watch, windows.shape[1]):
        loss = model(torch.from_numpy(windows[:1])).logits.sum()
        loss.backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    weights = {(unit, projection): weight for unit, projection, weight in product_weights(model)}
    for key, matrix in recording._matrices.items():
        outputs, inputs = weights[key].shape
        assert sum(value.numel() for value in matrix.sums.values()) <= 12 * (outputs + inputs)


def test_a_backward_pass_shows_every_product_once_and_keeps_no_layers_insides(
    checkpoint: Path, windows: np.ndarray
) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    shown: Counter[tuple[str, str]] = Counter()
    tokens: Counter[str] = Counter()

    def watch(unit: str, projection: str, weight: Any, x: Any, gradient: Any, counts: Any) -> None:
        shown[unit, projection] += 1
        assert len(x) == len(gradient) == sum(counts) > 0
        assert len(counts) == len(windows)
        tokens[unit.partition(".experts")[0]] += len(x)

    insides: list[weakref.ref[torch.Tensor]] = []
    products = [model.model.layers[0].self_attn.v_proj, model.model.layers[1].self_attn.o_proj]
    with watch_products(model, watch, windows.shape[1]):
        for module in products:
            module.register_forward_hook(lambda module, args, output: insides.append(weakref.ref(args[0])))
        loss = model(torch.from_numpy(windows)).logits.sum()
        assert len(insides) == 2 and not any(inside() is not None for inside in insides)
        loss.backward()
    assert set(shown.values()) == {1}
    assert tokens["lm_head"] == windows.size and tokens["layers.1.attention"] == 4 * windows.size
    assert tokens["layers.1"] == 3 * windows.size * model.config.num_experts_per_tok
    assert not any("forward" in vars(module) for module in model.modules())


def test_scores_do_not_depend_on_how_windows_are_batched(
    checkpoint: Path, windows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = measure_scores(checkpoint, windows, PROFILE)
    monkeypatch.setattr("hetc.huggingface.live.sensitivity.BATCH", 1)
    single = measure_scores(checkpoint, windows, PROFILE)
    for name, values in together.values.items():
        assert single.values[name] == pytest.approx(values, rel=1e-5)
    assert together.sensitivities is not None and single.sensitivities is not None
    for name, array in together.sensitivities.arrays().items():
        other = single.sensitivities.arrays()[name]
        np.testing.assert_allclose(other, array, rtol=1e-4, atol=1e-6 * array.max(), err_msg=name)


def test_large_products_are_looked_at_in_blocks(
    checkpoint: Path, windows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure_scores(checkpoint, windows, PROFILE)
    monkeypatch.setattr("hetc.huggingface.live.recording.BLOCK", 200)
    cut = measure_scores(checkpoint, windows, PROFILE)
    assert cut.values["expected-loss"] == pytest.approx(whole.values["expected-loss"], rel=1e-5)
    assert whole.sensitivities is not None and cut.sensitivities is not None
    for name, array in whole.sensitivities.arrays().items():
        np.testing.assert_allclose(
            cut.sensitivities.arrays()[name], array, rtol=1e-4, atol=1e-6 * array.max(), err_msg=name
        )
