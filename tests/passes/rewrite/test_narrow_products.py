"""Products with 16-bit weights read them where they lie; all others stay as they are."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from hetc.passes.rewrite.narrow_products import NarrowProducts
from hetc.passes.run_passes import run_passes
from hetc.runtimes.onnxruntime.session import open_session

X = np.random.default_rng(0).standard_normal((2, 3, 40), np.float32)
W = np.random.default_rng(1).standard_normal((24, 40), np.float32)
BIAS = np.arange(24, dtype=np.float32)


def model_of(nodes: list[onnx.NodeProto], weight: np.ndarray, rank: int = 3) -> ir.Model:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", "s", 40][-rank:])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(BIAS, "bias")],
    )
    proto = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    return ir.from_proto(proto)


def run(model: ir.Model, x: np.ndarray) -> np.ndarray:
    found: np.ndarray = open_session(ir.to_proto(model).SerializeToString()).run(None, {"x": x})[0]
    return found


CAST = helper.make_node("Cast", ["w"], ["wide"], to=TensorProto.FLOAT)
TURN = helper.make_node("Transpose", ["wide"], ["turned"], perm=[1, 0])


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
@pytest.mark.parametrize("turned", [True, False])
def test_matmul(dtype: Any, turned: bool) -> None:
    if turned:
        nodes = [CAST, TURN, helper.make_node("MatMul", ["x", "turned"], ["y"], name="q_proj")]
    else:
        nodes = [CAST, helper.make_node("MatMul", ["x", "wide"], ["y"], name="q_proj")]
    model = model_of(nodes, (W if turned else W.T).astype(dtype))
    expected = run(model, X)
    run_passes(model, NarrowProducts())
    assert [(node.op_type, node.name) for node in model.graph] == [("MatMul16", "q_proj")]
    assert model.graph.node(0).inputs[1] is model.graph.initializers["w"]
    np.testing.assert_allclose(run(model, X), expected, atol=1e-5)


def test_gemm_keeps_its_bias() -> None:
    gemm = helper.make_node("Gemm", ["x", "wide", "bias"], ["y"], name="g", transB=1)
    model = model_of([CAST, gemm], W.astype(np.float16), rank=2)
    expected = run(model, X[0])
    run_passes(model, NarrowProducts())
    assert [node.op_type for node in model.graph] == ["MatMul16", "Add"]
    np.testing.assert_allclose(run(model, X[0]), expected, atol=1e-5)


@pytest.mark.parametrize("case", ["float32 weight", "float64 product", "weight that is an input"])
def test_what_stays(case: str) -> None:
    cast, weight = CAST, W.T.astype(np.float32 if case == "float32 weight" else np.float16)
    if case == "float64 product":
        cast = helper.make_node("Cast", ["w"], ["wide"], to=TensorProto.DOUBLE)
    model = model_of([cast, helper.make_node("MatMul", ["x", "wide"], ["y"], name="m")], weight)
    if case == "weight that is an input":
        model.graph.inputs.append(model.graph.initializers["w"])
    run_passes(model, NarrowProducts())
    assert [node.op_type for node in model.graph] == ["Cast", "MatMul"]
