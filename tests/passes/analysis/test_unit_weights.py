"""One model has one set of units, whoever exported it: by names of weights or nodes, or by structure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from exporters import (
    folded,
    with_numbered_nodes,
    with_numbered_weights,
    with_scopes,
    with_torchscript_nodes,
)
from models import moe_model
from places import SAMPLES

from hetc.base.errors import UsageError
from hetc.compiler.compile import plan_model
from hetc.compiler.loading import load_moe_model
from hetc.passes.analysis.find_units import find_units, model_parameters
from hetc.passes.analysis.outside_units import find_outside
from hetc.passes.analysis.weight_uses import products_of
from hetc.plan.units import Unit

Change = Callable[[ir.Model], ir.Model]


def onnx_names(model: ir.Model) -> ir.Model:
    return with_numbered_weights(model, "onnx::MatMul_{}")


def renamed(model: ir.Model) -> ir.Model:
    return with_numbered_weights(model)


SPELLINGS: dict[str, tuple[Change, ...]] = {
    "names of nodes": (with_torchscript_nodes, onnx_names),
    "scopes": (with_scopes, with_numbered_nodes, with_scopes, renamed),
    "transposed weights": (folded,),
    "transposed weights, names of nodes": (folded, with_torchscript_nodes, onnx_names),
    "no names": (renamed, with_numbered_nodes),
    "transposed weights, no names": (folded, renamed, with_numbered_nodes),
}


def sizes(units: tuple[Unit, ...]) -> dict[str, tuple[int, int, bool]]:
    """What shares are made of."""
    return {unit.id: (unit.parameters, len(unit.matrices), bool(unit.unsupported)) for unit in units}


@pytest.mark.parametrize("sample", ["tiny_moe", "tiny_deepseek"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_units_do_not_depend_on_the_exporter(sample: str, spelling: str) -> None:
    path = SAMPLES / sample / "model.onnx"
    expected = sizes(find_units(load_moe_model(path).model))
    model = load_moe_model(path).model
    for change in SPELLINGS[spelling]:
        change(model)
    assert sizes(find_units(model)) == expected


def test_an_attention_operator_holds_its_products_together() -> None:
    """As in models of ONNX Runtime's builder, but without a name."""
    model = moe_model(layers=2, hidden=8)
    for layer in range(2):
        weight = model.graph.initializers[f"model.layers.{layer}.self_attn.q_proj.weight"]
        (query,) = [product.node for product in products_of(weight)]
        x, output = query.inputs[0], query.outputs[0]
        others = [ir.node("MatMul", [x, new_weight(model, f"w_{layer}_{i}", 8, 8)]) for i in range(2)]
        inputs = [ir.node("Identity", [node.outputs[0]]).outputs[0] for node in (query, *others)]
        bias = new_weight(model, f"bias_{layer}", 8)
        biased = ir.node("Add", [query.outputs[0], bias])
        inputs[0].producer().replace_input_with(0, biased.outputs[0])
        attention = ir.node("GroupQueryAttention", inputs, domain="com.microsoft")
        result = ir.node("MatMul", [attention.outputs[0], new_weight(model, f"o_{layer}", 8, 8)])
        output.replace_all_uses_with(result.outputs[0])
        biased.replace_input_with(0, output)
        made = [*others, biased, *(value.producer() for value in inputs), attention, result]
        model.graph.insert_after(query, made)
    with_numbered_weights(model), with_numbered_nodes(model)
    units = {unit.id: unit for unit in find_units(model)}
    for layer in range(2):
        attention = units[f"layers.{layer}.attention"]
        assert sorted(matrix.projection for matrix in attention.matrices) == [
            "k_proj",
            "o_proj",
            "q_proj",
            "v_proj",
        ]
        assert (attention.parameters, attention.unsupported) == (4 * 64 + 8, "")
        assert units[f"layers.{layer}.router"].parameters == 4 * 8
    assert units["lm_head"].matrices and "embedding" in units


def test_a_copy_of_a_tied_table_counts_once() -> None:
    model = moe_model()
    parameters = model_parameters(model)
    table = model.graph.initializers["model.embed_tokens.weight"].const_value.numpy()
    head = model.graph.initializers["lm_head.weight"]
    assert "embedding" in {unit.id for unit in find_units(model)}
    head.const_value = ir.tensor(table.copy(), name="lm_head.weight")
    assert "embedding" not in {unit.id for unit in find_units(model)}
    assert model_parameters(model) == parameters - table.size


def test_products_of_no_unit_are_counted_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    model = moe_model(hidden=8)
    assert find_outside(model) == ()
    name = "model.layers.0.self_attn.q_proj.weight"
    model.graph.initializers[name].name = "strange"
    (finding,) = find_outside(model)
    assert "1 products with constant weights (64 parameters) belong to no unit" in finding.reason
    assert "'strange' (8, 8)" in str(finding)
    assert finding.reason in caplog.text


def test_a_unit_without_a_matrix_is_not_pinned_analog() -> None:
    model = moe_model(hidden=8)
    bias = ir.val("layers.0.attn.k.bias", const_value=ir.tensor(np.zeros(3, np.float32), name="b"))
    model.graph.initializers["model.layers.0.self_attn.q_proj.weight"].name = "strange"
    model.graph.register_initializer(bias)
    attention = next(unit for unit in find_units(model) if unit.id == "layers.0.attention")
    assert "no matrix" in attention.unsupported
    with pytest.raises(UsageError, match=r"layers\.0\.attention cannot be analog: it has no matrix"):
        compiled = {"digital_frac": 0, "analog": ["layers.0.attention"]}
        plan_model(model, **compiled)


def new_weight(model: ir.Model, name: str, *shape: int) -> ir.Value:
    numbers = np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32)
    value = ir.val(name, const_value=ir.tensor(numbers, name=name))
    model.graph.register_initializer(value)
    return value


def test_matrices_stand_in_a_checkpoints_order_whatever_lists_them() -> None:
    model = moe_model(experts=0)
    expected = find_units(model)
    weights = dict(reversed(list(model.graph.initializers.items())))
    model.graph.initializers.clear()
    model.graph.initializers.update(weights)
    assert find_units(model) == expected


@pytest.mark.parametrize("first", [0.0, 1.0, 1.2], ids=["sines", "cosines", "scaled"])
def test_tables_of_angles_are_no_parameters(first: float) -> None:
    model = moe_model()
    parameters = model_parameters(model)
    learned = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    angles = np.concatenate([np.full((1, 4), first, np.float32), learned])
    for name, numbers in (("learned", learned), ("angles", angles)):
        model.graph.register_initializer(ir.val(name, const_value=ir.tensor(numbers, name=name)))
    assert model_parameters(model) == parameters + learned.size
