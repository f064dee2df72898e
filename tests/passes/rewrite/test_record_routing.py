"""A recording graph gives each layer's choices and weights besides its outputs, and computes what it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from models import moe_model

from hetc.passes.analysis.find_units import find_units
from hetc.passes.rewrite.record_routing import RecordRouting, leads_to_concat
from hetc.runtimes.onnxruntime.session import open_session

IDS = {"input_ids": np.arange(11)}


def record_routing(model: ir.Model) -> ir.passes.PassResult:
    return RecordRouting(find_units(model))(model)


def run(model: ir.Model, folder: Path) -> dict[str, np.ndarray]:
    folder.mkdir()
    ir.save(model, folder / "model.onnx")
    session = open_session(folder / "model.onnx", library=False)
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, IDS), strict=True))


def expert_nodes(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == "Expert"]


def test_outputs_are_the_router_s_choices(tmp_path: Path) -> None:
    model, top_k = moe_model(layers=2, experts=4), 2
    for layer, node in enumerate(node for node in model.graph if node.op_type == "Softmax"):
        scores = node.outputs[0]
        scores.name, scores.dtype, scores.shape = f"scores.{layer}", ir.DataType.FLOAT, ir.Shape([None, 4])
        model.graph.outputs.append(scores)
    before = run(model, tmp_path / "before")
    assert record_routing(model).modified
    after = run(model, tmp_path / "after")
    assert after.keys() - before.keys() == {
        f"routing.{layer}.{what}" for layer in (0, 1) for what in ("index", "weight")
    }
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    for layer in (0, 1):
        index, weight = after[f"routing.{layer}.index"], after[f"routing.{layer}.weight"]
        assert (index.dtype, weight.dtype) == (np.int64, np.float32)
        assert index.shape == weight.shape == (11, top_k)
        scores = before[f"scores.{layer}"]
        np.testing.assert_array_equal(index, np.argsort(-scores, axis=1, kind="stable")[:, :top_k])
        np.testing.assert_array_equal(weight, np.take_along_axis(scores, index, axis=1))


def test_one_expert_with_rows_of_its_own_is_enough(tmp_path: Path) -> None:
    """Experts whose rows go elsewhere too, as copies' do, don't lead to the routing."""
    model = moe_model(layers=1, experts=3)
    for expert in expert_nodes(model)[:2]:
        model.graph.append(ir.node("Identity", [expert.outputs[0]]))
    assert [leads_to_concat(expert) for expert in expert_nodes(model)] == [False, False, True]
    assert record_routing(model).modified
    assert {"routing.0.index", "routing.0.weight"} < run(model, tmp_path / "after").keys()


def test_a_layer_without_such_an_expert_is_left_alone() -> None:
    model = moe_model(layers=1, experts=2)
    for expert in expert_nodes(model):
        model.graph.append(ir.node("Identity", [expert.outputs[0]]))
    before = [(node.op_type, node.name) for node in model.graph]
    assert not record_routing(model).modified
    assert [(node.op_type, node.name) for node in model.graph] == before
    assert [value.name for value in model.graph.outputs] == ["logits"]


def test_a_layer_that_is_not_canonical_is_refused() -> None:
    model = moe_model(layers=1, experts=2)
    rows = ir.val("rows", ir.DataType.FLOAT, [None, 8])
    model.graph.inputs.append(rows)
    expert_nodes(model)[-1].replace_input_with(0, rows)
    with pytest.raises(ir.passes.PreconditionError, match=r"'layers\.0\.experts\.1' is not an expert of a"):
        record_routing(model)
