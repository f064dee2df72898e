"""The canonical MoE layer that a placeholder becomes, against the sum over chosen experts in NumPy."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError
from hetc.passes.canonical.canonical_layer import ExpertWeights
from hetc.passes.rewrite.expand_experts import ExpandExperts
from hetc.passes.run_passes import run_passes
from hetc.plan.weight_roles import layer_name
from hetc.runtimes.reference import expert

HIDDEN, INTERMEDIATE = 6, 4
PATH = "model.layers.3.mlp.experts"


def initializer(name: str, array: NDArray[Any]) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    return ir.val(name, tensor.dtype, tensor.shape, const_value=tensor)


def make_experts(
    count: int, dtype: Any = np.float32, gated: bool = True, path: str = PATH
) -> list[ExpertWeights]:
    random = np.random.default_rng(1)

    def matrix(index: int, projection: str, *shape: int) -> ir.Value:
        return initializer(f"{path}.{index}.{projection}", random.normal(size=shape).astype(dtype))

    return [
        ExpertWeights(
            gate=matrix(index, "gate_proj.weight", INTERMEDIATE, HIDDEN) if gated else None,
            up=matrix(index, "up_proj.weight", INTERMEDIATE, HIDDEN),
            down=matrix(index, "down_proj.weight", HIDDEN, INTERMEDIATE),
        )
        for index in range(count)
    ]


def placeholder_model(top_k: int, paths: tuple[str, ...] = (PATH,), activation: str = "silu") -> ir.Model:
    """Placeholders in a row, each reading what the one before it gives."""
    x = ir.val("x", ir.DataType.FLOAT, ["tokens", HIDDEN])
    index = ir.val("index", ir.DataType.INT64, ["tokens", top_k])
    weight = ir.val("weight", ir.DataType.FLOAT, ["tokens", top_k])
    nodes = []
    value = x
    for path in paths:
        attributes = {
            "path": path,
            "layer": layer_name(path),
            "activation": activation,
            "transpose_weight": 1,
            "top_k": top_k,
            "hidden_size": HIDDEN,
        }
        node = ir.node("Experts", [value, index, weight], attributes, domain="hetc")
        value = node.outputs[0]
        value.name, value.dtype, value.shape = f"{path}.y", ir.DataType.FLOAT, x.shape
        nodes.append(node)
    graph = ir.Graph([x, index, weight], [value], nodes=nodes, opset_imports={"": 18}, name="graph")
    return ir.Model(graph, ir_version=10)


def run(model: ir.Model, x: NDArray[Any], index: NDArray[Any], weight: NDArray[Any]) -> NDArray[np.float32]:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    output: NDArray[np.float32] = session.run(None, {"x": x, "index": index, "weight": weight})[0]
    return output


def expected(
    experts: list[ExpertWeights], x: NDArray[Any], index: NDArray[Any], weight: NDArray[Any]
) -> NDArray[np.float32]:
    def array(value: ir.Value | None) -> NDArray[np.float32] | None:
        return None if value is None else value.const_value.numpy().astype(np.float32)

    y = np.zeros_like(x)
    for token, choice in np.ndindex(*index.shape):
        one = experts[index[token, choice]]
        matrices = [array(value) for value in (one.gate, one.up, one.down)]
        row = expert(x[token : token + 1], *matrices, "silu", transpose_weight=True)[0]
        y[token] += weight[token, choice] * row
    return y


@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(1, 6),
    count=st.integers(1, 5),
    data=st.data(),
    dtype=st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16]),
    gated=st.booleans(),
)
def test_layer_equals_sum_over_choices(
    tokens: int, count: int, data: st.DataObject, dtype: Any, gated: bool
) -> None:
    top_k = data.draw(st.integers(1, count))
    rows = st.lists(st.integers(0, count - 1), min_size=top_k, max_size=top_k, unique=True)
    index = np.array(data.draw(st.lists(rows, min_size=tokens, max_size=tokens)), np.int64)
    random = np.random.default_rng(0)
    x = random.normal(size=(tokens, HIDDEN)).astype(np.float32)
    weight = random.random(size=(tokens, top_k)).astype(np.float32)
    experts = make_experts(count, dtype, gated)
    model = placeholder_model(top_k)
    assert ExpandExperts({PATH: experts})(model).modified
    np.testing.assert_allclose(
        run(model, x, index, weight), expected(experts, x, index, weight), rtol=1e-4, atol=1e-4
    )


def test_one_node_per_expert_with_its_name_and_weights() -> None:
    model = placeholder_model(top_k=2)
    ExpandExperts({PATH: make_experts(3)})(model)
    nodes = [node for node in model.graph if node.domain == "hetc"]
    assert [node.name for node in nodes] == [f"layers.3.experts.{index}" for index in range(3)]
    for index, node in enumerate(nodes):
        assert [value.name for value in node.inputs if value is not None][1:] == [
            f"{PATH}.{index}.{projection}_proj.weight" for projection in ("gate", "up", "down")
        ]
        assert set(node.attributes) == {"activation", "transpose_weight"}
    assert [function.name for function in model.functions.values()] == ["Expert"]
    assert model.graph.opset_imports["hetc"] == 1
    assert not [node for node in model.graph if node.op_type.startswith("Scatter")]
    names = [node.name for node in model.graph]
    assert len(set(names)) == len(names)


def test_two_layers_of_different_precision() -> None:
    other = "model.layers.4.mlp.experts"
    model = placeholder_model(top_k=1, paths=(PATH, other))
    first, second = make_experts(2), make_experts(2, np.float16, path=other)
    ExpandExperts({PATH: first, other: second})(model)
    assert {function.name for function in model.functions.values()} == {"Expert", "Expert16"}
    x = np.ones((2, HIDDEN), np.float32)
    index, weight = np.array([[1], [0]]), np.ones((2, 1), np.float32)
    middle = expected(first, x, index, weight)
    np.testing.assert_allclose(
        run(model, x, index, weight), expected(second, middle, index, weight), rtol=1e-4, atol=1e-4
    )


def test_model_without_placeholder_is_left_alone() -> None:
    model = placeholder_model(top_k=1, paths=())
    assert not ExpandExperts({})(model).modified
    assert "hetc" not in model.graph.opset_imports


def test_missing_weights() -> None:
    with pytest.raises(InvalidInputError, match=r"model\.layers\.3\.mlp\.experts: .*no weights"):
        run_passes(placeholder_model(top_k=1), ExpandExperts({}))


def test_mixed_types_in_one_expert() -> None:
    experts = make_experts(2)
    half = initializer("half", np.zeros((HIDDEN, INTERMEDIATE), np.float16))
    experts[1] = ExpertWeights(gate=experts[1].gate, up=experts[1].up, down=half)
    with pytest.raises(InvalidInputError, match=r"expert 1: .*half is FLOAT16"):
        run_passes(placeholder_model(top_k=1), ExpandExperts({PATH: experts}))


def test_forms_that_one_function_cannot_serve() -> None:
    other = "model.layers.4.mlp.experts"
    model = placeholder_model(top_k=1, paths=(PATH, other))
    ungated = make_experts(2, gated=False, path=other)
    with pytest.raises(InvalidInputError, match="one function body"):
        ExpandExperts({PATH: make_experts(2), other: ungated})(model)
