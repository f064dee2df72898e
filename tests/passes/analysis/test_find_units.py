"""Units are found with their weights, counted once, and numbered once."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from models import moe_model

from hetc.base.errors import InvalidInputError
from hetc.passes.analysis.find_units import find_units, model_parameters


def test_kinds_and_order() -> None:
    units = find_units(moe_model(layers=2, experts=3))
    assert [unit.id for unit in units] == [
        "embedding",
        "layers.0.attention",
        "layers.0.router",
        "layers.0.experts.0",
        "layers.0.experts.1",
        "layers.0.experts.2",
        "layers.1.attention",
        "layers.1.router",
        "layers.1.experts.0",
        "layers.1.experts.1",
        "layers.1.experts.2",
        "lm_head",
    ]
    assert [unit.kind for unit in units if not unit.counted] == ["embedding", "router", "router"]


def test_every_matrix_has_its_own_stream_and_shape() -> None:
    units = find_units(moe_model(hidden=8, inter=6))
    matrices = [matrix for unit in units for matrix in unit.matrices]
    assert sorted(matrix.stream for matrix in matrices) == list(range(len(matrices)))
    expert = next(unit for unit in units if unit.id == "layers.0.experts.1")
    assert [(m.projection, m.inputs, m.outputs, m.transposed) for m in expert.matrices] == [
        ("gate_proj", 8, 6, True),
        ("up_proj", 8, 6, True),
        ("down_proj", 6, 8, True),
    ]
    assert expert.parameters == 3 * 48


def test_streams_do_not_depend_on_placement_or_dtype() -> None:
    wide, narrow = find_units(moe_model()), find_units(moe_model(dtype=np.float16))
    assert [u.matrices for u in wide] == [u.matrices for u in narrow]


def test_parameters_add_up() -> None:
    model = moe_model()
    assert sum(unit.parameters for unit in find_units(model)) == model_parameters(model)


def test_tied_head_counts_once() -> None:
    model = moe_model()
    graph = model.graph
    graph.initializers["lm_head.weight"].replace_all_uses_with(
        graph.initializers["model.embed_tokens.weight"]
    )
    graph.initializers.pop("lm_head.weight")
    units = {unit.id: unit for unit in find_units(model)}
    assert units["lm_head"].matrices[0].weight == "model.embed_tokens.weight"
    assert units["lm_head"].parameters == 88
    assert "embedding" not in units


def test_a_weight_outside_a_product_cannot_be_analog() -> None:
    model = moe_model()
    weight = model.graph.initializers["model.layers.0.self_attn.q_proj.weight"]
    cast = next(node for node, _ in weight.uses())
    cast.op_type = "Neg"
    unit = next(unit for unit in find_units(model) if unit.id == "layers.0.attention")
    assert "not the right operand" in unit.unsupported


def test_names_the_spelling_that_it_does_not_read() -> None:
    model = moe_model()
    for node in model.graph:
        if node.op_type == "Expert":
            node.op_type, node.domain = "MoE", "com.microsoft"
    with pytest.raises(InvalidInputError, match=r"com\.microsoft::MoE"):
        find_units(model)


def test_a_model_without_experts_is_dense() -> None:
    units = find_units(moe_model(layers=2, experts=0, hidden=8, inter=6))
    assert [unit.id for unit in units] == [
        "embedding",
        "layers.0.attention",
        "layers.0.mlp",
        "layers.1.attention",
        "layers.1.mlp",
        "lm_head",
    ]
    assert [(matrix.projection, matrix.inputs, matrix.outputs) for matrix in units[2].matrices] == [
        ("up_proj", 8, 6),
        ("down_proj", 6, 8),
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mlp.gate.weight", "looks like a router's"),
        ("mlp.experts.0.up_proj.weight", "looks like an expert's"),
    ],
)
def test_a_sign_of_experts_is_refused(name: str, message: str) -> None:
    model = moe_model(layers=1, experts=0)
    weight = model.graph.initializers.pop("model.layers.0.mlp.up_proj.weight")
    weight.name = f"model.layers.0.{name}"
    model.graph.register_initializer(weight)
    with pytest.raises(InvalidInputError, match=message):
        find_units(model)


def test_says_that_nothing_can_be_placed() -> None:
    x = ir.val("x", ir.DataType.FLOAT, [1])
    node = ir.node("Relu", [x])
    model = ir.Model(ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 18}), ir_version=10)
    with pytest.raises(InvalidInputError, match="neither experts nor weights"):
        find_units(model)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (np.zeros(3, np.float32), r"layers.0.experts.1'.*up_proj .* is to be a matrix"),
        (np.zeros((6, 9), np.float32), r"layers.0.experts.1'.*don't fit each other"),
    ],
)
def test_expert_weights_that_are_no_matrices(numbers: np.ndarray, message: str) -> None:
    model = moe_model(hidden=8, inter=6)
    weight = model.graph.initializers["model.layers.0.mlp.experts.1.up_proj.weight"]
    weight.const_value = ir.tensor(numbers, name=weight.name)
    weight.shape = weight.const_value.shape
    with pytest.raises(InvalidInputError, match=message):
        find_units(model)


def test_a_weight_that_two_experts_share_counts_once() -> None:
    model = moe_model(hidden=8, inter=6)
    first, second = (
        node for node in model.graph if node.name in ("layers.0.experts.0", "layers.0.experts.1")
    )
    second.replace_input_with(1, first.inputs[1])
    del model.graph.initializers["model.layers.0.mlp.experts.1.gate_proj.weight"]
    units = find_units(model)
    assert sum(unit.parameters for unit in units) == model_parameters(model)
    assert [unit.parameters for unit in units if unit.layer == 0 and unit.kind == "expert"][:2] == [144, 96]
