"""A replaced expert is a second copy of another: the model is what it is without the expert that went."""

from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir
import pytest
from models import moe_model

from hetc.passes.analysis.find_units import find_units
from hetc.passes.mitigate.replace_experts import ReplaceExperts
from hetc.runtimes.onnxruntime.session import open_session

TOKENS = np.arange(11)


def run(model: ir.Model) -> np.ndarray:
    return open_session(ir.to_proto(model).SerializeToString()).run(None, {"input_ids": TOKENS})[0]


def never_chosen(model: ir.Model, layer: int, expert: int) -> ir.Model:
    """The model whose router finds an expert as unlikely as can be, by other means."""
    router = next(
        node for node in model.graph if node.op_type == "Softmax" and f"layers.{layer}." in _weight_name(node)
    )
    mask = np.zeros(4, np.float32)
    mask[expert] = -np.inf
    value = ir.val("mask", const_value=ir.tensor(mask, name="mask"))
    model.graph.register_initializer(value)
    masked = ir.node("Add", [router.inputs[0], value], name="masked")
    model.graph.insert_before(router, masked)
    router.replace_input_with(0, masked.outputs[0])
    return model


def _weight_name(softmax: ir.Node) -> str:
    product = softmax.inputs[0].producer()
    transpose = product.inputs[1].producer()
    return transpose.inputs[0].producer().inputs[0].name


def test_the_model_is_the_one_without_the_expert() -> None:
    model = moe_model()
    passed = ReplaceExperts({"layers.1.experts.2": "layers.1.experts.0"})
    assert passed(model).modified
    assert passed.replaced == ["layers.1.experts.2"]
    expected = run(never_chosen(moe_model(), 1, 2))
    assert np.abs(expected - run(moe_model())).max() > 1e-3
    np.testing.assert_allclose(run(model), expected, rtol=1e-6, atol=1e-6)


def test_copies_are_matrices_of_their_own() -> None:
    model = moe_model()
    ReplaceExperts({"layers.0.experts.1": "layers.0.experts.3"})(model)
    units = {unit.id: unit for unit in find_units(model)}
    copy, first = units["layers.0.experts.1"], units["layers.0.experts.3"]
    assert len(copy.matrices) == 3
    for one, other in zip(copy.matrices, first.matrices, strict=True):
        assert one.stream != other.stream
        assert one.weight != other.weight
        numbers = [model.graph.initializers[matrix.weight].const_value.numpy() for matrix in (one, other)]
        np.testing.assert_array_equal(*numbers)


def test_what_is_left_alone_and_why(caplog: pytest.LogCaptureFixture) -> None:
    model = moe_model()
    pair = {"layers.0.experts.1": "layers.0.experts.3"}
    ReplaceExperts(pair)(model)
    with caplog.at_level(logging.INFO):
        assert not ReplaceExperts(pair)(model).modified
    assert "is already one of two copies" in caplog.text
    hidden = moe_model()
    for name in [name for name in hidden.graph.initializers if "mlp.gate.weight" in name]:
        hidden.graph.initializers[name].consumers()[0].op_type = "Neg"  # no product takes it as it is
    with caplog.at_level(logging.INFO):
        assert not ReplaceExperts(pair)(hidden).modified
    assert "no product is known to be its layer's router" in caplog.text


def test_a_router_without_a_name_is_found() -> None:
    nameless = moe_model()
    for name in [name for name in nameless.graph.initializers if "mlp.gate.weight" in name]:
        nameless.graph.initializers[name].name = name.replace("mlp.gate.weight", "scores")
    assert ReplaceExperts({"layers.0.experts.1": "layers.0.experts.3"})(nameless).modified
