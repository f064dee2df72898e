"""com.microsoft::MoE -> the canonical layer, against ONNX Runtime's CPU kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from raising import assert_raised, run

from hetc.passes.rewrite.raise_experts import RaiseExperts


def moe_model(
    *,
    experts: int = 4,
    hidden: int = 6,
    inter: int = 5,
    top_k: int = 2,
    leading: tuple[str, ...] = ("batch", "sequence"),
    dtype: Any = np.float32,
    biases: tuple[bool, bool] = (False, False),
    layers: int = 1,
    transposed: bool = False,
    **attributes: Any,
) -> ir.Model:
    """x and router logits -> MoE layers in a row, with the names of onnxruntime-genai's builder."""
    random = np.random.default_rng(0)
    kind = ir.DataType.from_numpy(np.dtype(dtype))
    x = ir.val("x", kind, [*leading, hidden])
    router = ir.val("router", kind, ["tokens", experts])
    graph = ir.Graph([x, router], [], nodes=[], opset_imports={"": 21, "com.microsoft": 1}, name="moe")
    rows = 2 * inter if attributes.get("activation_type") == "swiglu" else inter

    def weight(name: str, *shape: int) -> ir.Value:
        numbers = (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(dtype)
        value = ir.val(name, const_value=ir.tensor(numbers, name=name))
        graph.register_initializer(value)
        return value

    def matrices(name: str, outputs: int, inputs: int) -> ir.Value:
        return weight(name, experts, *((inputs, outputs) if transposed else (outputs, inputs)))

    value = x
    for layer in range(layers):
        prefix = f"model.layers.{layer}.moe.experts"
        inputs = [
            value,
            router,
            matrices(f"{prefix}.gate_up_proj.weight", rows, hidden),
            weight(f"{prefix}.gate_up_proj.bias", experts, rows) if biases[0] else None,
            matrices(f"{prefix}.down_proj.weight", hidden, inter),
            weight(f"{prefix}.down_proj.bias", experts, hidden) if biases[1] else None,
        ]
        node = ir.node(
            "MoE",
            inputs,
            {"k": top_k, "activation_type": "silu"} | attributes,
            domain="com.microsoft",
            name=f"/model/layers.{layer}/moe/MoE",
        )
        graph.append(node)
        value = node.outputs[0]
        value.name, value.type, value.shape = f"y{layer}", x.type, x.shape
    graph.outputs.append(value)
    return ir.Model(graph, ir_version=10)


def feeds(model: ir.Model, tokens: int = 6) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(1)
    x, router = model.graph.inputs
    leading = [tokens] if len(x.shape or ()) == 2 else [2, tokens // 2]
    kind = x.dtype.numpy()  # type: ignore[union-attr]
    return {
        "x": random.standard_normal([*leading, x.shape[-1]]).astype(kind),  # type: ignore[index]
        "router": random.standard_normal([tokens, router.shape[-1]]).astype(kind),  # type: ignore[index]
    }


def test_two_layers_take_the_numbers_of_their_names() -> None:
    model = moe_model(layers=2)
    findings = assert_raised(model, feeds(model), layers=2)
    assert [finding.layer for finding in findings] == ["layers.0", "layers.1"]
    assert "layers.1.experts.3.up_proj.weight" in model.graph.initializers
    assert not [name for name in model.graph.initializers if name.startswith("model.")]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_equal_to_the_kernel(data: st.DataObject) -> None:
    experts = data.draw(st.integers(1, 6))
    activation = data.draw(st.sampled_from(["relu", "gelu", "silu", "swiglu"]))
    dtype = data.draw(st.sampled_from([np.float32, np.float16]))
    model = moe_model(
        experts=experts,
        hidden=data.draw(st.integers(1, 9)),
        inter=data.draw(st.integers(1, 9)),
        top_k=data.draw(st.integers(1, experts)),
        leading=data.draw(st.sampled_from([("tokens",), ("batch", "sequence")])),
        dtype=dtype,
        biases=data.draw(st.tuples(st.booleans(), st.booleans())),
        layers=data.draw(st.integers(1, 2)),
        activation_type=activation,
        swiglu_fusion=int(activation == "swiglu"),
        normalize_routing_weights=data.draw(st.integers(0, 1)),
    )
    rename(model, data.draw(st.sampled_from(["", "w", "Größe/"])))
    layers = len(model.graph)
    assert_raised(model, feeds(model), layers=layers, tolerance=1e-5 if dtype is np.float32 else 4e-3)


def rename(model: ir.Model, prefix: str) -> None:
    """Give every node and value a name that says nothing, unless the prefix is empty."""
    if not prefix:
        return
    for index, value in enumerate(list(model.graph.initializers.values())):
        value.name = f"{prefix}{index}"
    for index, node in enumerate(model.graph):
        node.name = f"{prefix}node{index}"
        node.outputs[0].name = f"{prefix}out{index}"


def test_clamped_swiglu_of_gpt_oss() -> None:
    swiglu = {"activation_type": "swiglu", "swiglu_fusion": 1, "swiglu_limit": 0.7}
    swiglu |= {"activation_alpha": 1.702, "activation_beta": 1.0}
    model = moe_model(hidden=8, inter=6, biases=(True, True), **swiglu)
    assert_raised(model, feeds(model))


def test_ties_go_to_the_higher_index_as_in_the_kernel() -> None:
    model = moe_model(experts=5, top_k=2, normalize_routing_weights=1)
    inputs = feeds(model)
    inputs["router"] = np.round(inputs["router"] / 2)
    inputs["router"][0] = 0
    assert_raised(model, inputs)


def test_concatenated_gate_and_up_are_views_into_the_file(tmp_path: Path) -> None:
    # ONNX Runtime's CPU kernel takes interleaved rows only: the same numbers, interleaved, are the oracle.
    model = moe_model(hidden=4, inter=3, activation_type="swiglu", swiglu_fusion=1, biases=(True, False))
    inputs = feeds(model)
    expected = run(model, inputs)
    for name in ("weight", "bias"):
        value = model.graph.initializers[f"model.layers.0.moe.experts.gate_up_proj.{name}"]
        numbers = value.const_value.numpy()
        parts = np.concatenate([numbers[:, 0::2], numbers[:, 1::2]], axis=1)
        value.const_value = ir.tensor(parts, name=value.name)
    next(iter(model.graph)).attributes["swiglu_fusion"] = ir.AttrInt64("swiglu_fusion", 2)
    ir.save(model, tmp_path / "model.onnx", external_data="weights.bin", size_threshold_bytes=0)
    model = ir.load(tmp_path / "model.onnx")
    stack = model.graph.initializers["model.layers.0.moe.experts.gate_up_proj.weight"].const_value
    RaiseExperts()(model)
    up = model.graph.initializers["layers.0.experts.2.up_proj.weight"].const_value
    assert isinstance(up, ir.ExternalTensor) and isinstance(stack, ir.ExternalTensor)
    assert (up.offset, up.length) == (stack.offset + (2 * 6 + 3) * 4 * 4, 3 * 4 * 4)
    ir.save(model, tmp_path / "raised.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "raised.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, inputs)[0], expected[0], atol=1e-6)


def test_layer_in_a_function_is_inlined_and_raised() -> None:
    model = moe_model(leading=("tokens",))
    (node,) = model.graph
    inputs = [ir.val(f"in{index}") for index in range(len(node.inputs))]
    inner = ir.node("MoE", [v and inputs[i] for i, v in enumerate(node.inputs)], domain="com.microsoft")
    inner.attributes.update(node.attributes)
    body = ir.Graph(inputs, inner.outputs, nodes=[inner], opset_imports={"com.microsoft": 1}, name="body")
    function = ir.Function("user", "Block", graph=body, attributes=[])
    model.functions[function.identifier()] = function
    model.graph.opset_imports["user"] = 1
    node.domain, node.op_type = "user", "Block"
    node.attributes.clear()
    assert_raised(model, feeds(model))
    assert [function.name for function in model.functions.values()] == ["Expert"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"transposed": True}, "where x has 6 columns"),
        ({"use_sparse_mixer": 1}, "use_sparse_mixer is 1"),
        ({"activation_type": "identity"}, "activation 'identity'"),
        ({"swiglu_fusion": 0, "activation_type": "swiglu"}, "swiglu_fusion 0"),
    ],
)
def test_declined(change: dict[str, Any], reason: str) -> None:
    model = moe_model(**change)
    before = ir.to_proto(model).SerializeToString()
    raising = RaiseExperts()
    assert not raising(model).modified
    (finding,) = raising.findings
    assert (finding.layer, finding.node) == ("layers.0", "/model/layers.0/moe/MoE")
    assert reason in finding.reason
    assert ir.to_proto(model).SerializeToString() == before


def test_weight_that_callers_may_feed_is_declined_by_name() -> None:
    model = moe_model()
    name = "model.layers.0.moe.experts.down_proj.weight"
    model.graph.inputs.append(model.graph.initializers[name])
    raising = RaiseExperts()
    assert not raising(model).modified
    assert f"weight '{name}' is a graph input" in raising.findings[0].reason


def test_layer_in_a_subgraph_is_declined_with_the_reason() -> None:
    model = moe_model(leading=("tokens",))
    (node,) = model.graph
    output = model.graph.outputs.pop()
    model.graph.remove(node)
    other = ir.node("Identity", [model.graph.inputs[0]])
    branches = [
        ir.Graph([], [part.outputs[0]], nodes=[part], name=name)
        for name, part in (("then", node), ("else", other))
    ]
    condition = ir.val("condition", ir.DataType.BOOL, [])
    model.graph.inputs.append(condition)
    attributes = {"then_branch": branches[0], "else_branch": branches[1]}
    choice = ir.node("If", [condition], attributes, name="choice")
    model.graph.append(choice)
    model.graph.outputs.append(choice.outputs[0])
    choice.outputs[0].name, choice.outputs[0].type = "z", output.type
    raising = RaiseExperts()
    assert not raising(model).modified
    assert "inside of an If" in raising.findings[0].reason


def test_what_was_not_rewritten_survives() -> None:
    model = moe_model(layers=2)
    model.metadata_props["owner"] = "someone"
    _, second = model.graph
    second.attributes["use_sparse_mixer"] = ir.AttrInt64("use_sparse_mixer", 1)
    second.metadata_props["layer_ann"] = "npu"
    unused = ir.val("unused", const_value=ir.tensor(np.ones(3, np.float32), name="unused"))
    model.graph.register_initializer(unused)
    raising = RaiseExperts()
    raising(model)
    assert [finding.raised for finding in raising.findings] == [True, False]
    assert second.graph is model.graph and second.metadata_props["layer_ann"] == "npu"
    assert second.inputs[0].name == "y0"
    assert "unused" in model.graph.initializers and model.metadata_props["owner"] == "someone"
    assert "model.layers.1.moe.experts.down_proj.weight" in model.graph.initializers
