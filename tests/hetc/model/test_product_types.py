"""A model whose inputs and outputs are wide may compute in 16 bits, and one with narrow weights in 32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from models import moe_model

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
