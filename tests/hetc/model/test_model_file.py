"""What can be loaded, and how everything else is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import moe_model, saved_moe_model

from hetc.base.errors import InvalidInputError, UsageError
from hetc.model.load import load_model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return saved_moe_model(tmp_path)


def test_path_proto_and_ir_give_the_same_names(saved: Path) -> None:
    models = [load_model(saved), load_model(onnx.load(saved)), load_model(ir.load(saved))]
    names = [[node.name for node in loaded.model.graph] for loaded in models]
    assert names[0] == names[1] == names[2]
    assert len(set(names[0])) == len(names[0])


def test_graphsurgeon_graphs_are_taken(saved: Path) -> None:
    graphsurgeon = pytest.importorskip("onnx_graphsurgeon")
    graph = graphsurgeon.import_onnx(onnx.load(saved))
    loaded = load_model(graph)
    assert sum(node.op_type == "Expert" for node in loaded.model.graph) == 8


def test_a_users_model_is_not_changed() -> None:
    model = moe_model()
    load_model(model).model.graph[0].op_type = "Changed"
    assert model.graph[0].op_type == "Gather"


def test_source_is_recorded(saved: Path) -> None:
    source = load_model(saved).source
    assert source["file"] == str(saved)
    assert len(source["sha256"]) == 64


def test_missing_path() -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_model("nowhere/model.onnx")


def test_other_objects() -> None:
    with pytest.raises(UsageError, match="cannot compile a int"):
        load_model(3)


@pytest.mark.parametrize("size", [0, 1, 100, 0.5])
def test_truncated_models(saved: Path, size: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(size * len(data)) if isinstance(size, float) else size])
    with pytest.raises(InvalidInputError, match=r"model\.onnx"):
        load_model(saved)


def test_text_is_not_onnx(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("This is no model.\n" * 10)
    with pytest.raises(InvalidInputError, match=r"model\.onnx"):
        load_model(tmp_path / "model.onnx")


def test_missing_external_data(saved: Path) -> None:
    (saved.parent / "weights.bin").unlink()
    with pytest.raises(InvalidInputError, match=r"weights\.bin is missing"):
        load_model(saved)


def test_truncated_external_data(saved: Path) -> None:
    with (saved.parent / "weights.bin").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(InvalidInputError, match=r"tensor .*weights\.bin has 1000 bytes"):
        load_model(saved)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "link.bin"])
def test_escaping_external_data(saved: Path, location: str) -> None:
    secret = saved.parent.parent / "secret.bin"
    secret.write_bytes((saved.parent / "weights.bin").read_bytes())
    (saved.parent / "link.bin").symlink_to(secret)
    proto = onnx.load(saved, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    saved.write_bytes(proto.SerializeToString())
    with pytest.raises(InvalidInputError, match="outside the model's folder"):
        load_model(saved)


def test_invalid_graph_is_refused_with_the_checker_s_words(tmp_path: Path) -> None:
    proto = ir.to_proto(moe_model())
    proto.graph.node[3].input[0] = "nothing_makes_this"
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(InvalidInputError, match="nothing_makes_this"):
        load_model(tmp_path / "model.onnx")


def test_weights_are_read_where_they_are(saved: Path) -> None:
    from hetc.model.weights import read_tensor

    model = load_model(saved).model
    name = "model.layers.0.mlp.experts.0.up_proj.weight"
    expected = onnx.numpy_helper.to_array(
        next(t for t in onnx.load(saved).graph.initializer if t.name == name)
    )
    np.testing.assert_array_equal(read_tensor(model, name), expected)
