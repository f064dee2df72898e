"""What is refused, by name, before anything is done with a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from models import saved_moe_model
from onnx import helper, numpy_helper

from hetc.base.errors import InvalidInputError
from hetc.model.load import MODEL_FILE_LIMIT, load_model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return saved_moe_model(tmp_path)


def read(path: Path) -> onnx.ModelProto:
    return onnx.load(path, load_external_data=False)


def external(name: str, location: str, offset: int = 0, length: int = 64) -> onnx.TensorProto:
    """16 floats in a file."""
    tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=[16])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def branches(tensor: onnx.TensorProto) -> onnx.NodeProto:
    """An If whose branches both give `tensor`, one of them from an initializer, one from a Constant."""
    result = [helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, [16])]
    other = helper.make_node("Constant", [], ["r"], name="constant", value=tensor)
    held = onnx.TensorProto()
    held.CopyFrom(tensor)
    held.name = "held"
    same = helper.make_node("Identity", ["held"], ["r"])
    return helper.make_node(
        "If",
        ["condition"],
        ["chosen"],
        name="if",
        then_branch=helper.make_graph([same], "then", [], result, [held]),
        else_branch=helper.make_graph([other], "else", [], result),
    )


def with_branches(path: Path, tensor: onnx.TensorProto) -> None:
    proto = read(path)
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    proto.graph.node.append(branches(tensor))
    proto.graph.output.append(helper.make_tensor_value_info("chosen", onnx.TensorProto.FLOAT, [16]))
    path.write_bytes(proto.SerializeToString())


def with_function(path: Path, tensor: onnx.TensorProto) -> None:
    """A local function whose body holds `tensor`."""
    proto = read(path)
    body = [helper.make_node("Constant", [], ["y"], name="held", value=tensor)]
    opsets = [helper.make_opsetid("", 18)]
    proto.functions.append(helper.make_function("mine", "Held", [], ["y"], body, opsets))
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    proto.graph.node.append(helper.make_node("Held", [], ["chosen"], name="call", domain="mine"))
    proto.graph.output.append(helper.make_tensor_value_info("chosen", onnx.TensorProto.FLOAT, [16]))
    path.write_bytes(proto.SerializeToString())


@pytest.mark.parametrize("place", [with_branches, with_function])
@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (external("t", "missing.bin"), "missing.bin is missing"),
        (external("t", "short.bin", offset=1), "short.bin has 64 bytes, but the tensor ends at 65"),
        (external("t", "short.bin", length=60), "need 64"),
        (external("t", "../secret.bin"), "outside the model's folder"),
        (external("t", "/etc/hostname"), "outside the model's folder"),
        (external("t", "C:\\secret.bin"), "outside the model's folder"),
        (external("t", "link.bin"), "outside the model's folder"),
        (external("t", "sub/../short.bin"), "outside the model's folder"),
    ],
)
def test_data_of_subgraphs_and_functions(
    path: Path, place: object, tensor: onnx.TensorProto, message: str
) -> None:
    (path.parent / "short.bin").write_bytes(bytes(64))
    (path.parent.parent / "secret.bin").write_bytes(bytes(64))
    (path.parent / "link.bin").symlink_to(path.parent.parent / "secret.bin")
    (path.parent / "sub").mkdir()
    assert callable(place)
    place(path, tensor)
    with pytest.raises(InvalidInputError, match=r"model\.onnx") as caught:
        load_model(path)
    assert message in str(caught.value)
    assert "held" in str(caught.value) or "constant" in str(caught.value)


@pytest.mark.parametrize("place", [with_branches, with_function])
def test_sound_data_of_subgraphs_and_functions(path: Path, place: object) -> None:
    (path.parent / "short.bin").write_bytes(bytes(68))
    assert callable(place)
    place(path, external("t", "short.bin", offset=3))
    load_model(path)


@pytest.mark.parametrize("place", [with_branches, with_function])
def test_negative_offsets(path: Path, place: object) -> None:
    assert callable(place)
    place(path, external("t", "weights.bin", offset=-64))
    with pytest.raises(InvalidInputError, match=r"model\.onnx.*-64"):
        load_model(path)


def sparse() -> onnx.SparseTensorProto:
    values = helper.make_tensor("thin", onnx.TensorProto.FLOAT, [1], [1.0])
    return helper.make_sparse_tensor(values, helper.make_tensor("i", onnx.TensorProto.INT64, [1], [3]), [16])


def test_sparse_initializers(path: Path) -> None:
    proto = read(path)
    proto.graph.sparse_initializer.append(sparse())
    path.write_bytes(proto.SerializeToString())
    for model in (path, proto):
        with pytest.raises(InvalidInputError, match="'thin' is sparse"):
            load_model(model)


def test_sparse_attributes_in_a_branch(path: Path) -> None:
    with_branches(path, numpy_helper.from_array(np.zeros(16, np.float32)))
    proto = read(path)
    constant = proto.graph.node[-1].attribute[0].g.node[0]
    assert constant.op_type == "Constant"
    del constant.attribute[:]
    constant.attribute.append(helper.make_attribute("sparse_value", sparse()))
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InvalidInputError, match="node 'constant': sparse_value"):
        load_model(path)


def test_newer_ir_version(path: Path) -> None:
    proto = read(path)
    proto.ir_version = 99
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InvalidInputError, match="IR version 99"):
        load_model(path)


def test_a_file_that_protobuf_cannot_parse(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(MODEL_FILE_LIMIT + 1)  # a hole
    with pytest.raises(InvalidInputError, match="external data"):
        load_model(path)


def test_a_name_that_is_no_text(path: Path) -> None:
    data = path.read_bytes()
    name = b"layers.0.experts/token"
    path.write_bytes(data.replace(name, b"layers.0.e\xc8perts/token"))
    with pytest.raises(InvalidInputError, match=r"no text|not a valid ONNX"):
        load_model(path)


@pytest.mark.parametrize("broken", ["raw_data", "dims", "data_type"])
def test_a_tensor_whose_bytes_do_not_fill_its_shape(path: Path, broken: str) -> None:
    proto = read(path)
    tensor = next(one for one in proto.graph.initializer if one.name == "count_0")
    if broken == "raw_data":
        tensor.raw_data = tensor.raw_data[:-1]
    elif broken == "dims":
        tensor.dims[:] = [7]
    else:
        tensor.data_type = 0
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InvalidInputError, match="count_0"):
        load_model(path)


def test_an_initializer_declared_as_something_else(path: Path) -> None:
    proto = read(path)
    proto.graph.input.append(helper.make_tensor_value_info("count_0", onnx.TensorProto.INT64, [3]))
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InvalidInputError, match=r"initializer 'count_0' is INT64 \[1\], but declared"):
        load_model(path)


def test_a_stale_note_of_an_initializers_shape(path: Path) -> None:
    """ONNX Runtime's transformers optimizer turns weights, and leaves what was noted of them."""
    proto = read(path)
    proto.graph.value_info.append(helper.make_tensor_value_info("count_0", onnx.TensorProto.INT64, [3]))
    path.write_bytes(proto.SerializeToString())
    assert load_model(path).model.graph.initializers["count_0"].shape == (1,)
