"""Plans on live models through the kernels against the plain torch path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("triton")

from live_plans import live_plan  # noqa: E402
from models import with_static_converters  # noqa: E402

from hetc.hardware.profile import Profile  # noqa: E402
from hetc.huggingface.live import apply  # noqa: E402
from hetc.huggingface.live.apply import apply_plan  # noqa: E402
from hetc.huggingface.live.programmings import Programmings  # noqa: E402
from hetc.plan.fractions import DigitalFraction  # noqa: E402
from hetc.plan.targets import targets_at  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SMALL: dict[str, Any] = {
    "vocab_size": 53,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": 2,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "olmoe": {"num_experts": 4},
    "gpt_oss": {"num_local_experts": 4, "head_dim": 8, "sliding_window": 8},
}
TOKENS = np.random.default_rng(0).integers(0, 53, (2, 8))


@pytest.fixture(scope="module", params=FAMILIES)
def model_and_plan(request: pytest.FixtureRequest) -> Any:
    config = transformers.AutoConfig.for_model(request.param, **SMALL, **FAMILIES[request.param])
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(mean=float(parameter.dim() == 1), std=0.15)
    plan = live_plan(model, Profile(tile_rows=10), digital_frac=0.25, dense=("attention", "lm_head"))
    return model.to(DEVICE), plan


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The kernels where the plain path would run: in the interpreter."""
    monkeypatch.setattr(apply, "kernels_run", lambda device, settings: True)
    yield


def logits(model: Any) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(TOKENS).to(DEVICE), use_cache=False).logits.float().cpu().numpy()


def plain(model: Any, plan: Any, monkeypatch: pytest.MonkeyPatch, **choices: Any) -> np.ndarray:
    with monkeypatch.context() as patch:
        patch.setattr(apply, "kernels_run", lambda device, settings: False)
        with apply_plan(model, plan, **choices):
            return logits(model)


@pytest.mark.parametrize(
    "choices",
    [
        {"mode": "converters"},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"store": "int8", "digital_frac": 0.5}, marks=pytest.mark.slow),
    ],
)
def test_logits_are_the_plain_paths(
    choices: dict[str, Any], model_and_plan: Any, kernels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, plan = model_and_plan
    expected = plain(model, plan, monkeypatch, **choices)
    with apply_plan(model, plan, **choices):
        assert any(type(vars(one).get("forward")).__name__ == "KernelExperts" for one in model.modules())
        actual = logits(model)
    difference = np.abs(actual - expected) / np.abs(expected).max()
    assert np.median(difference) < 1e-5
    assert difference.max() < 0.1  # a code that lies next to a half step moves those after it


@pytest.mark.parametrize(
    "choices",
    [
        {"mode": "converters"},
        pytest.param({"digital_frac": 0.7}, marks=pytest.mark.slow),
        pytest.param({"store": "int8", "drift_time": 86400.0}, marks=pytest.mark.slow),
    ],
)
def test_digital_neurons_are_the_plain_paths(
    choices: dict[str, Any], model_and_plan: Any, kernels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neurons of experts, heads of an attention, and rows of the head."""
    model, plan = model_and_plan
    profile = replace(plan.profile, scale_mode="tile", drift_compensation="global", tile_columns=20)
    divided = live_plan(model, profile, digital_frac=0.3, dense=("attention", "lm_head"), heads=2)
    assert {0 < unit.digital_neurons < unit.neurons for unit in divided.units} == {True, False}
    expected = plain(model, divided, monkeypatch, **choices)
    assert (
        np.abs(expected - plain(model, divided, monkeypatch, **{**choices, "digital_frac": 0})).max()
        > 0.01 * np.abs(expected).max()
    )
    for limit in (0, 2**30):
        with apply_plan(model, divided, programmings=Programmings(limit), **choices):
            difference = np.abs(logits(model) - expected) / np.abs(expected).max()
        assert np.median(difference) < 1e-5
        assert difference.max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["std:8", "scale:12"])
def test_static_converters(
    rule: str, model_and_plan: Any, kernels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, plan = model_and_plan
    plan = with_static_converters(plan, rule, float(rule.split(":")[1]), input_range=2.0)
    expected = plain(model, plan, monkeypatch)
    with apply_plan(model, plan):
        difference = np.abs(logits(model) - expected) / np.abs(expected).max()
    assert np.median(difference) < 1e-5
    assert difference.max() < 0.1


@pytest.mark.parametrize("rule", ["std:8", "scale:12"])
def test_bounds_count_what_was_compiled(
    rule: str, model_and_plan: Any, kernels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fraction is digital now, as on the plain path."""
    model, plan = model_and_plan
    if model.config.model_type != "olmoe":
        pytest.skip("one family is enough")
    plan = live_plan(model, plan.profile, digital_frac=0.3, dense=("attention", "lm_head"), heads=2)
    plan = with_static_converters(plan, rule, float(rule.split(":")[1]), input_range=2.0)
    expected = plain(model, plan, monkeypatch, mode="converters", digital_frac=0.6)
    own = replace(plan, units=targets_at(plan, 0.6), digital_frac=DigitalFraction(0.6))
    other = plain(model, own, monkeypatch, mode="converters")
    with apply_plan(model, plan, mode="converters", digital_frac=0.6):
        actual = logits(model)
    largest = np.abs(expected).max()
    assert np.median(np.abs(actual - expected)) < 1e-5 * largest
    assert np.abs(actual - expected).max() < 0.1 * largest
    assert np.median(np.abs(other - expected)) > 1e-4 * largest


@pytest.mark.slow
def test_plans_share_what_is_programmed(
    model_and_plan: Any, kernels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever experts a plan leaves digital, and with room for the analog ones alone as well."""
    model, plan = model_and_plan
    programmings = Programmings(2**30)
    held = []
    for fraction in (0.25, 0.5):
        expected = plain(model, plan, monkeypatch, digital_frac=fraction)
        with apply_plan(model, plan, digital_frac=fraction, programmings=programmings):
            difference = np.abs(logits(model) - expected) / np.abs(expected).max()
        assert np.median(difference) < 1e-5
        held.append(len(programmings._held))
    assert held[0] == held[1] > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_graph_holds_a_layer(model_and_plan: Any) -> None:
    """Nothing in the forward of experts waits for the device."""
    model, plan = model_and_plan
    with apply_plan(model, plan), torch.inference_mode():
        experts = next(
            one for one in model.modules() if type(vars(one).get("forward")).__name__ == "KernelExperts"
        )
        hidden = torch.randn(20, 16, device=DEVICE)
        index = torch.randint(4, (20, 2), device=DEVICE)
        weights = torch.rand(20, 2, device=DEVICE)
        experts(hidden, index, weights)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = experts(hidden, index, weights)
        hidden.normal_()
        index.copy_(3 - index)
        graph.replay()
        torch.testing.assert_close(captured, experts(hidden, index, weights), rtol=0, atol=0)
