"""The canonical layer computes the sum over chosen experts, for every form of expert."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from hetc.operators.expert import expert_function
from hetc.passes.canonical.canonical_layer import (
    CanonicalLayer,
    ExpertWeights,
    build_canonical_layer,
    expert_operator,
)

EXPERTS, HIDDEN, INTER = 4, 5, 3
SHAPES = {"gate": (INTER, HIDDEN), "up": (INTER, HIDDEN), "down": (HIDDEN, INTER)}

Matrices = dict[str, np.ndarray]


def expert_matrices(*, gated: bool = True, biases: bool = False, dtype: Any = np.float32) -> list[Matrices]:
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {name: SHAPES[name] for name in SHAPES if gated or name != "gate"}
    shapes |= {f"{name}_bias": shape[:1] for name, shape in shapes.items()} if biases else {}
    return [
        {name: random.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
        for _ in range(EXPERTS)
    ]


def constants(matrices: Matrices, expert: int = 0) -> ExpertWeights:
    named = {name: ir.tensor(matrix, name=f"{expert}.{name}") for name, matrix in matrices.items()}
    values = {name: ir.val(tensor.name, const_value=tensor) for name, tensor in named.items()}
    return ExpertWeights(**values)


def build(experts: list[ExpertWeights], top_k: int, **options: Any) -> tuple[CanonicalLayer, list[ir.Value]]:
    x = ir.val("x", ir.DataType.FLOAT, ["T", HIDDEN])
    index = ir.val("index", ir.DataType.INT64, ["T", top_k])
    weight = ir.val("weight", ir.DataType.FLOAT, ["T", top_k])
    arguments = {"layer": "layers.3", "top_k": top_k, "hidden_size": HIDDEN, "activation": "relu", **options}
    return build_canonical_layer(x, index, weight, experts, **arguments), [x, index, weight]


def run(
    matrices: list[Matrices], x: np.ndarray, index: np.ndarray, weight: np.ndarray, **options: Any
) -> np.ndarray:
    experts = [constants(one, number) for number, one in enumerate(matrices)]
    layer, inputs = build(experts, index.shape[1], **options)
    y = layer.output
    y.shape = inputs[0].shape
    read = [value for expert in experts for value in expert.inputs if value is not None]
    opsets = {"": 18, "hetc": 1}
    graph = ir.Graph(
        inputs, [y], nodes=layer.nodes, initializers=[*layer.constants, *read], opset_imports=opsets
    )
    graph.name = "layer"
    function = expert_function(
        expert_operator(experts[0]),
        opset=18,
        gated="gate" in matrices[0],
        activation="relu",
        **{name: name in matrices[0] for name in ("gate_bias", "up_bias", "down_bias")},
    )
    model = ir.to_proto(ir.Model(graph, ir_version=10, functions=[function]))
    (result,) = ReferenceEvaluator(model).run(None, {"x": x, "index": index, "weight": weight})
    return result


def expected(matrices: list[Matrices], x: np.ndarray, index: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Token by token and choice by choice, in float64."""
    y = np.zeros((len(x), HIDDEN))
    for token, choices in enumerate(index):
        for choice, expert in enumerate(choices):
            one = {name: matrix.astype(np.float64) for name, matrix in matrices[expert].items()}
            up = one["up"] @ x[token] + one.get("up_bias", 0)
            if "gate" in one:
                hidden = np.maximum(one["gate"] @ x[token] + one.get("gate_bias", 0), 0) * up
            else:
                hidden = np.maximum(up, 0)
            y[token] += weight[token, choice] * (one["down"] @ hidden + one.get("down_bias", 0))
    return y


def tokens(count: int, top_k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens that choose any experts but the last, which so has no rows."""
    random = np.random.default_rng(1)
    index = np.stack([random.permutation(EXPERTS - 1)[:top_k] for _ in range(count)])
    weight = random.uniform(size=(count, top_k)).astype(np.float32)
    return random.normal(size=(count, HIDDEN)).astype(np.float32), index, weight


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_equals_the_sum_over_choices(gated: bool, biases: bool, top_k: int) -> None:
    matrices = expert_matrices(gated=gated, biases=biases)
    given = tokens(7, top_k)
    np.testing.assert_allclose(run(matrices, *given), expected(matrices, *given), atol=1e-5)


def test_one_token_and_one_expert_chosen_twice() -> None:
    matrices = expert_matrices()
    given = tokens(1, 2)
    given[1][:] = 2
    np.testing.assert_allclose(run(matrices, *given), expected(matrices, *given), atol=1e-5)


def test_weights_may_lie_the_other_way() -> None:
    matrices, given = expert_matrices(), tokens(7, 2)
    turned = [{name: matrix.T.copy() for name, matrix in one.items()} for one in matrices]
    np.testing.assert_allclose(
        run(turned, *given, transpose_weight=False), expected(matrices, *given), atol=1e-5
    )


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_weights_of_16_bits(dtype: Any) -> None:
    matrices, given = expert_matrices(biases=True, dtype=dtype), tokens(7, 2)
    np.testing.assert_allclose(run(matrices, *given), expected(matrices, *given), atol=1e-5)


def test_names_lead_with_the_layer() -> None:
    layer, _ = build([constants(one, number) for number, one in enumerate(expert_matrices())], 2)
    experts = [node for node in layer.nodes if node.domain == "hetc"]
    assert [node.name for node in experts] == [f"layers.3.experts.{number}" for number in range(EXPERTS)]
    assert {node.op_type for node in experts} == {"Expert"}
    names = [node.name or "" for node in layer.nodes] + [value.name or "" for value in layer.constants]
    assert len(set(names)) == len(names)
    others = set(names) - {node.name for node in experts}
    assert others and all(name.startswith("layers.3.experts/") for name in others)
    assert layer.nodes[-1].outputs[0] is layer.output
    assert layer.output.dtype == ir.DataType.FLOAT


def test_attributes_reach_the_experts() -> None:
    experts = [constants(one, number) for number, one in enumerate(expert_matrices())]
    options = {"activation": "clamped", "activation_attributes": {"limit": 7.0}, "transpose_weight": False}
    layer, _ = build(experts, 2, **options)
    found = [node.attributes for node in layer.nodes if node.domain == "hetc"]
    assert len(found) == EXPERTS
    for attributes in found:
        assert attributes["activation"].as_string() == "clamped"
        assert attributes["limit"].as_float() == 7.0
        assert attributes["transpose_weight"].as_int() == 0


def test_absent_inputs_at_the_end_are_left_out() -> None:
    ungated = constants(expert_matrices(gated=False)[0])
    assert ungated.inputs == [None, ungated.up, ungated.down]
    biased = constants(expert_matrices(gated=False, biases=True)[0])
    assert biased.inputs == [None, biased.up, biased.down, None, biased.up_bias, biased.down_bias]


@pytest.mark.parametrize(
    ("gate", "up", "operator"),
    [
        (np.float32, np.float32, "Expert"),
        (None, np.float32, "Expert"),
        (np.float16, np.float16, "Expert16"),
        (np.float16, ml_dtypes.bfloat16, "Expert16"),
    ],
)
def test_types_choose_the_operator(gate: Any, up: Any, operator: str) -> None:
    assert expert_operator(typed(gate, up)) == operator


@pytest.mark.parametrize(("gate", "up"), [(np.float32, np.float16), (None, np.float64), (np.int8, np.int8)])
def test_other_types_are_refused_by_name(gate: Any, up: Any) -> None:
    weights = typed(gate, up)
    assert weights.up.dtype is not None
    with pytest.raises(ValueError, match=rf"must all be float32.*0\.up is {weights.up.dtype}"):
        build([weights], 1)


def typed(gate: Any, up: Any) -> ExpertWeights:
    matrices = expert_matrices(gated=gate is not None)[0]
    types = {"gate": gate, "up": up, "down": up}
    return constants({name: matrix.astype(types[name]) for name, matrix in matrices.items()})
