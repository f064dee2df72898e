"""mobius' dense loop -> the canonical layer: its four gates, and what isn't one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from dense_loop import GATES, DenseLoop
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_builder import Layer
from raising import assert_raised, run
from spelled_layers import spell

from hetc.passes.rewrite.raise_experts import RaiseExperts


@pytest.mark.parametrize("gate", GATES)
def test_gates(gate: str) -> None:
    build = DenseLoop(hidden=8, inter=6, experts=4, top_k=2)
    x = build.layer(build.x, "model.layers.2.mlp", gate=gate)
    model = build.model(build.layer(x, "model.layers.5.mlp", gate=gate))
    findings = assert_raised(model, build.feeds(), layers=2)
    assert [finding.layer for finding in findings] == ["layers.2", "layers.5"]
    assert "model.layers.5.mlp.experts.3.up_proj.weight" in model.graph.initializers
    assert not [
        node for node in model.graph if node.op_type == "Equal" and "experts" not in (node.name or "")
    ]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_equal_after_raising(data: st.DataObject) -> None:
    experts = data.draw(st.integers(2, 6))
    gate = data.draw(st.sampled_from(GATES))
    dtype = data.draw(st.sampled_from([np.float32, np.float16]))
    top_k = 1 if experts == 2 else data.draw(st.integers(1, experts - 1))
    build = DenseLoop(
        hidden=data.draw(st.integers(1, 9)),
        inter=data.draw(st.integers(1, 9)),
        experts=experts,
        top_k=top_k,
        dtype=dtype,
    )
    prefix = data.draw(st.sampled_from(["model.layers.3.mlp", "w", "Größe/"]))
    model = build.model(
        build.layer(
            build.x,
            prefix,
            gate=gate,
            activation=data.draw(st.sampled_from(["silu", "gelu", "gelu_tanh", "relu2"])),
            gated=data.draw(st.booleans()),
            bias=data.draw(st.booleans()),
            order=data.draw(st.permutations(range(experts))),
        )
    )
    assert_raised(model, build.feeds(), tolerance=1e-5 if dtype is np.float32 else 2e-2)


def test_clamped_swiglu_with_biases() -> None:
    build = DenseLoop(hidden=8, inter=6, experts=4, top_k=2)
    model = build.model(build.layer(build.x, "model.layers.0.mlp", activation="clamped_swish", bias=True))
    assert_raised(model, build.feeds())
    node = next(node for node in model.graph if node.domain == "hetc")
    numbers = [node.attributes[f"activation_{part}"].as_float() for part in ("alpha", "beta", "limit")]
    np.testing.assert_allclose(numbers, [1.702, 1, 0.7], rtol=1e-6)


def test_constants_of_an_activation_may_be_of_one_element() -> None:
    build = DenseLoop(hidden=8, inter=6, experts=3, top_k=2)
    plain = build.constant
    build.constant = lambda numbers: plain(np.reshape(numbers, -1) if np.size(numbers) == 1 else numbers)
    model = build.model(build.layer(build.x, "model.layers.0.mlp", activation="relu2"))
    assert_raised(model, build.feeds())


def _decline(model: ir.Model) -> str:
    before = ir.to_proto(model).SerializeToString()
    raising = RaiseExperts()
    assert not raising(model).modified
    assert ir.to_proto(model).SerializeToString() == before
    (finding,) = raising.findings
    return finding.reason


def test_experts_that_a_trace_left_out_are_declined() -> None:
    build = DenseLoop(hidden=8, inter=6, experts=4, top_k=2)
    model = build.model(build.layer(build.x, "model.layers.0.mlp", order=[0, 1, 2]))
    assert "the router knows 4 experts, the layer has 3" in _decline(model)


def test_foreign_term_in_the_sum_is_left_outside() -> None:
    build = DenseLoop(hidden=8, inter=6, experts=3, top_k=2)
    y = build.layer(build.x, "model.layers.0.mlp")
    shared = build.linear(build.x, "shared", 8, 8, bias=False)
    model = build.model(build.op("Add", shared, y))
    assert_raised(model, build.feeds())


@pytest.mark.parametrize(
    ("operator", "reason"),
    [("Tanh", "the activation is none of"), ("Softmax", "a Softmax stands between the products")],
)
def test_expert_with_another_activation_or_a_normalization_is_declined(operator: str, reason: str) -> None:
    build = DenseLoop(hidden=8, inter=6, experts=3, top_k=2)
    model = build.model(build.layer(build.x, "model.layers.0.mlp"))
    node = next(node for node in model.graph if node.op_type == "Sigmoid")
    node.op_type = operator
    assert reason in _decline(model)


def test_router_and_its_names_survive() -> None:
    build = DenseLoop(hidden=8, inter=6, experts=3, top_k=2)
    model = build.model(build.layer(build.x, "model.layers.0.mlp", gate="softmax_top_k"))
    router = [node for node in model.graph if node.op_type in ("Softmax", "TopK", "Div")]
    router[0].metadata_props["layer_ann"] = "npu"
    names = [node.name for node in router]
    expected = run(model, build.feeds())[0].shape
    RaiseExperts()(model)
    assert [node.name for node in router if node.graph is model.graph] == names
    assert router[0].metadata_props == {"layer_ann": "npu"}
    assert expected == (2, 3, 8)


@pytest.mark.parametrize(
    "name", ["MoECausalLMModel", "Phi3MoECausalLMModel", "Qwen2MoECausalLMModel", "GPTOSSCausalLMModel"]
)
def test_models_that_mobius_itself_builds(name: str) -> None:
    pytest.importorskip("mobius", reason="pip install mobius-onnx")
    from mobius._builder import build_from_module
    from mobius._testing import make_config
    from mobius.models import gptoss, moe

    config = make_config(
        num_local_experts=4,
        num_experts_per_tok=2,
        num_hidden_layers=2,
        moe_intermediate_size=24,
        shared_expert_intermediate_size=24,
    )
    model = build_from_module(getattr(gptoss if name.startswith("GPT") else moe, name)(config), config)[
        "model"
    ]
    random = np.random.default_rng(0)
    for value in model.graph.initializers.values():
        if value.const_value is None:
            numbers = random.standard_normal(value.shape.numpy()) * 0.2 + ("norm" in value.name)
            value.const_value = ir.tensor(numbers.astype(np.float32), name=value.name)
    sizes = {"batch": 2, "sequence_len": 5, "past_sequence_len": 0}
    inputs: dict[str, Any] = {}
    for value in model.graph.inputs:
        shape = [size if isinstance(size, int) else sizes.get(str(size.value), 5) for size in value.shape]
        inputs[value.name] = np.ones(shape, value.dtype.numpy())
    inputs["input_ids"] = random.integers(0, 50, (2, 5))
    inputs["position_ids"] = np.tile(np.arange(5), (2, 1))
    assert_raised(model, inputs, layers=2)


def test_weights_that_a_reduction_broadcasts_are_declined() -> None:
    def drop_axis(model: ir.Model) -> None:
        sums = [node for node in model.graph if node.op_type == "ReduceSum"]
        sums[0].attributes["keepdims"] = ir.AttrInt64("keepdims", 0)

    shape = Layer(experts=2, top_k=1, hidden=2, inter=2, gated=False, order=(0, 1))
    model, _ = spell("dense_mask", shape, drop_axis)
    passing = RaiseExperts()
    passing(model)
    assert not any(finding.raised for finding in passing.findings)
    assert any("drops the axis" in finding.reason for finding in passing.findings)
