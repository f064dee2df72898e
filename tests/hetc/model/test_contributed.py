"""Models that ONNX Runtime's optimizer, genai's builder and converters write are valid."""

from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx_ir as ir
import pytest
from models import moe_model, saved_moe_model
from onnx import TensorProto, helper, numpy_helper

from hetc.base.errors import InvalidInputError
from hetc.compiler.loading import load_moe_model
from hetc.model.load import load_model


def contributed(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["T", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["T", 4])],
        [numpy_helper.from_array(np.ones(4, np.float16), "scale")],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


NORM = helper.make_node("SimplifiedLayerNormalization", ["x", "scale"], ["n"], epsilon=1e-6)
SKIP = helper.make_node(
    "SkipSimplifiedLayerNormalization",
    ["x", "n", "scale"],
    ["y", "", "", "sum"],
    domain="com.microsoft",
    epsilon=1e-6,
)


def test_contributed_operators_load_and_have_shapes(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(contributed([NORM, SKIP]), path)
    assert [node.op_type for node in load_model(path).model.graph] == [NORM.op_type, SKIP.op_type]
    values = onnx.shape_inference.infer_shapes(contributed([NORM, SKIP]), strict_mode=True).graph.value_info
    norm = next(value for value in values if value.name == "n")
    assert norm.type.tensor_type.elem_type == TensorProto.FLOAT16
    assert norm.type.tensor_type.shape.dim[1].dim_value == 4


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("NobodysNormalization", ["x"], ["y"]),
        helper.make_node("SimplifiedLayerNormalization", ["x"], ["y"]),
    ],
    ids=["an unknown operator", "too few inputs"],
)
def test_what_onnx_runtime_refuses_is_refused(tmp_path: Path, node: onnx.NodeProto) -> None:
    onnx.save(contributed([node]), tmp_path / "m.onnx")
    with pytest.raises(InvalidInputError, match="not a valid ONNX model"):
        load_model(tmp_path / "m.onnx")


def test_nodes_are_sorted(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(contributed([SKIP, NORM]), path)
    assert [node.op_type for node in load_model(path).model.graph] == [NORM.op_type, SKIP.op_type]
    in_memory = load_model(contributed([SKIP, NORM])).model
    assert [node.op_type for node in in_memory.graph] == [NORM.op_type, SKIP.op_type]


def test_a_circle_of_nodes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    nodes = [helper.make_node("Add", ["x", "b"], ["y"]), helper.make_node("Add", ["y", "y"], ["b"])]
    onnx.save(contributed(nodes), path)
    with pytest.raises(InvalidInputError, match="topologically sorted"):
        load_model(path)


def test_a_missing_data_file_is_looked_for_nearby(tmp_path: Path) -> None:
    path = saved_moe_model(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (path.parent / "weights.bin").rename(tmp_path / "elsewhere" / "weights.bin")
    with pytest.raises(InvalidInputError, match=r"is missing; \S*elsewhere holds a file of that name"):
        load_model(path)
    (tmp_path / "elsewhere" / "weights.bin").unlink()
    with pytest.raises(InvalidInputError, match=r"is missing$"):
        load_model(path)


def test_layers_that_onnx_has_inlined_are_raised_again() -> None:
    inlined = onnx.inliner.inline_local_functions(ir.to_proto(moe_model()))
    assert not inlined.functions
    loaded = load_moe_model(inlined)
    assert [finding.raised for finding in loaded.findings] == [True, True]
    names = [node.name for node in loaded.model.graph]
    assert len(set(names)) == len(names)
    onnx.checker.check_model(ir.to_proto(loaded.model))
