"""A model whose inputs and outputs are wide may compute in 16 bits, and one with narrow weights in 32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import moe_model
from onnx import helper, numpy_helper

from hetc.model.product_types import product_types


def test_weights_of_16_bits_that_are_widened(tmp_path: Path) -> None:
    ir.save(moe_model(hidden=8, dtype=np.float16), tmp_path / "m.onnx", external_data="weights.bin")
    assert product_types(tmp_path / "m.onnx") == {"tensor(float)"}


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_products_between_wide_inputs_and_outputs(tmp_path: Path, domain: str) -> None:
    x = ir.val("x", ir.DataType.FLOAT, ["T", 4])
    weight = ir.val("w", const_value=ir.tensor(np.ones((4, 4), np.float16), name="w"))
    cast = ir.node("Cast", [x], {"to": ir.DataType.FLOAT16.value})
    operator = "FusedMatMul" if domain else "MatMul"
    product = ir.node(operator, [cast.outputs[0], weight], domain=domain)
    back = ir.node("Cast", [product.outputs[0]], {"to": ir.DataType.FLOAT.value})
    back.outputs[0].dtype, back.outputs[0].shape = ir.DataType.FLOAT, x.shape
    graph = ir.Graph(
        [x],
        back.outputs,
        nodes=[cast, product, back],
        initializers=[weight],
        opset_imports={"": 18, "com.microsoft": 1},
        name="g",
    )
    ir.save(ir.Model(graph, ir_version=10), tmp_path / "m.onnx")
    assert product_types(tmp_path / "m.onnx") == {"tensor(float16)"}


def test_shapes_that_hold_no_more(tmp_path: Path) -> None:
    """Tools that turn a weight leave its old shape behind."""
    half = onnx.TensorProto.FLOAT16
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["product"]),
            helper.make_node("Cast", ["product"], ["y"], to=1),
        ],
        "g",
        [helper.make_tensor_value_info("x", half, ["T", 4])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["T", 4])],
        [numpy_helper.from_array(np.ones((4, 4), np.float16), "w")],
        value_info=[
            helper.make_tensor_value_info("w", half, [8, 4]),
            helper.make_tensor_value_info("product", half, ["T", 4]),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "m.onnx")
    assert product_types(tmp_path / "m.onnx") == {"tensor(float16)"}
