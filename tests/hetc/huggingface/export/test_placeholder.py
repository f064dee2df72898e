"""Families that `export` refuses, by name and with the reason, before anything is traced."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from families import olmoe  # noqa: E402
from model_types import tiny_config  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402
from hetc.huggingface.export.placeholder import prepare_experts  # noqa: E402


def build(config: Any) -> Any:
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def test_gpt_oss_clamps_gate_and_up() -> None:
    model = build(tiny_config("gpt_oss", swiglu_limit=3.0))
    prepare_experts(model, "gpt_oss")
    assert model.model.layers[0].mlp.experts.hetc_attributes == {
        "transpose_weight": 0,
        "activation": "clamped_swish",
        "activation_alpha": 1.702,
        "activation_beta": 1.0,
        "activation_limit": 3.0,
    }


def test_inkling_2_bounds_gate_and_up_smoothly() -> None:
    model = build(tiny_config("inkling2_text", mlp_gate_softcap=3.0))
    prepare_experts(model, "inkling2_text")
    modules = [module for module in model.modules() if hasattr(module, "hetc_attributes")]
    assert modules[0].hetc_attributes == {
        "transpose_weight": 1,
        "activation": "softcapped_swish",
        "activation_gate_cap": 3.0,
        "activation_up_cap": 25.0,
    }


@pytest.mark.parametrize("limit", [7.0, 30.0])
def test_limit_is_found_wherever_it_lies(limit: float) -> None:
    model = build(tiny_config("hy_v4", swiglu_limit=limit))
    prepare_experts(model, "hy_v4")
    attributes = model.model.layers[-1].mlp.experts.hetc_attributes
    assert (attributes["activation_beta"], attributes["activation_limit"]) == (0.0, limit)


def test_dense_model_needs_nothing() -> None:
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    prepare_experts(build(config), "llama")


def test_experts_of_an_unknown_kind_are_refused() -> None:
    """As transformers builds it; `export` has a class of its own for this family."""
    with pytest.raises(InvalidInputError, match=r"llama4_text: .*feed_forward\.experts .* not behind"):
        prepare_experts(build(tiny_config("llama4_text")), "llama4_text")


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("has_post_expert_norm", True, "has_post_expert_norm"),
        ("act_fn", torch.nn.Mish(), "activation Mish"),
    ],
)
def test_flag_is_refused(flag: str, value: Any, reason: str) -> None:
    model = build(olmoe())
    setattr(model.model.layers[1].mlp.experts, flag, value)
    with pytest.raises(InvalidInputError, match=rf"olmoe: model\.layers\.1\.mlp\.experts .*{reason}"):
        prepare_experts(model, "olmoe")


def test_gate_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(olmoe())
    experts = model.model.layers[0].mlp.experts
    monkeypatch.setattr(type(experts), "_apply_gate", lambda self, both: both)
    with pytest.raises(InvalidInputError, match="_apply_gate"):
        prepare_experts(model, "olmoe")


def test_supported_model_is_noted() -> None:
    model = build(olmoe(hidden_act="gelu_pytorch_tanh"))
    prepare_experts(model, "olmoe")
    experts = model.model.layers[1].mlp.experts
    assert experts.hetc_path == "model.layers.1.mlp.experts"
    assert experts.hetc_attributes == {"transpose_weight": 1, "activation": "gelu_tanh"}
