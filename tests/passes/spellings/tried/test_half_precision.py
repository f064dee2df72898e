"""Layers that compute in 16 bits are tried in float32, and raised into experts that compute so."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from layer_builder import Layer
from raising import assert_raised
from spelled_layers import spell

from hetc.passes.rewrite.raise_experts import RaiseExperts

ONE_STEP = 2.0**-9


def in_float16(model: ir.Model) -> None:
    """Everything of float32 becomes float16, as converters do it."""
    for graph in model.graphs():
        for value in (*graph.inputs, *graph.initializers.values()):
            narrow(value)
        for node in graph:
            for output in node.outputs:
                narrow(output)
            for name, attribute in list(node.attributes.items()):
                if name == "to" and attribute.as_int() == ir.DataType.FLOAT:
                    node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT16.value)
                elif attribute.type == ir.AttributeType.TENSOR:
                    numbers = attribute.as_tensor().numpy()
                    if numbers.dtype == np.float32:
                        node.attributes[name] = ir.AttrTensor(name, ir.tensor(numbers.astype(np.float16)))


def narrow(value: ir.Value) -> None:
    if value.dtype == ir.DataType.FLOAT:
        value.dtype = ir.DataType.FLOAT16
    tensor = value.const_value
    if tensor is not None and tensor.dtype == ir.DataType.FLOAT:
        numbers: Any = tensor.numpy().astype(np.float16)
        value.const_value = ir.tensor(numbers, name=value.name)
        value.type = ir.TensorType(ir.DataType.FLOAT16)


@pytest.mark.parametrize("spelling", ["dense_mask", "gathered", "grouped"])
def test_float16_layers_are_raised(spelling: str) -> None:
    model, feeds = spell(spelling, Layer(), in_float16)
    feeds = {name: value.astype(np.float16) for name, value in feeds.items()}
    findings = assert_raised(model, feeds, tolerance=ONE_STEP)
    if spelling != "dense_mask":  # which is matched, not tried
        assert findings[0].difference is not None
        assert findings[0].difference < 1e-5  # it is the sum, but for the source's roundings
    experts = [node for node in model.graph if node.domain == "hetc"]
    assert {node.op_type for node in experts} == {"Expert16"}
    assert {node.inputs[0].dtype for node in experts if node.inputs[0].dtype} <= {ir.DataType.FLOAT}


def test_a_float16_layer_whose_sum_is_something_else_is_declined() -> None:
    def changed(model: ir.Model) -> None:
        for node in list(model.graph):
            if node.op_type == "Softmax":
                continue
            if node.op_type in ("Sigmoid", "Tanh") and node is not next(iter(model.graph)):
                node.op_type = "Sin"
        in_float16(model)

    model, _ = spell("dense_mask", Layer(), changed)
    raising = RaiseExperts()
    raising(model)
    assert not any(finding.raised for finding in raising.findings)
    assert "activation is none of" in raising.findings[-1].reason
