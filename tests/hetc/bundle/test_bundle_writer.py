"""What reaches a bundle: every file that a tensor lies in, and everything that hetc did not rewrite."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import moe_model

import hetc
from hetc.base.errors import InvalidInputError
from hetc.bundle.files import PORTABLE_MODEL
from hetc.model.external_tensors import data_file, external_tensors, tensor_at, tensor_slots

TOKENS = {"input_ids": np.arange(8)}


def scatter(model: ir.Model, folder: Path, files: int = 3) -> Path:
    """Saves the model with its weights at odd offsets of several files; returns its path."""
    folder.mkdir()
    data = [bytearray(b"?" * (index + 1)) for index in range(files)]
    for index, slot in enumerate(list(tensor_slots(model))):
        if slot.tensor.dtype == ir.DataType.INT64:
            continue
        file = data[index % files]
        file += b"!" * (1 - len(file) % 2)
        slot.replace(
            tensor_at(slot.tensor, f"part{index % files}.bin", len(file), slot.tensor.nbytes, folder)
        )
        file += slot.tensor.tobytes()
    for index, file in enumerate(data):
        (folder / f"part{index}.bin").write_bytes(file)
    onnx.save(ir.to_proto(model), folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_weights_at_odd_offsets_of_several_files(tmp_path: Path, link: bool, dtype: type) -> None:
    plain = hetc.compile(moe_model(dtype=dtype), tmp_path / "plain.hetc", digital_frac=0)
    path = scatter(moe_model(dtype=dtype), tmp_path / "model")
    bundle = hetc.compile(path, tmp_path / "out.hetc", digital_frac=0, link=link)
    assert {f"weights/part{index}.bin" for index in range(3)} <= set(bundle.manifest)
    for mode in ("exact", "noisy"):
        (expected,) = plain.session(mode=mode).run(None, TOKENS)
        (found,) = bundle.session(mode=mode).run(None, TOKENS)
        np.testing.assert_array_equal(found, expected)


def test_hashes_are_those_of_the_files(tmp_path: Path) -> None:
    bundle = hetc.compile(scatter(moe_model(), tmp_path / "model"), tmp_path / "out.hetc", link=True)
    assert {"model.onnx", "plan.json", "weights/part0.bin"} < bundle.manifest.keys()
    for name, entry in bundle.manifest.items():
        assert hashlib.sha256((bundle.path / name).read_bytes()).hexdigest() == entry["sha256"]
    assert bundle.manifest["weights/part0.bin"]["inode"] == (tmp_path / "model/part0.bin").stat().st_ino


def test_data_of_a_branch_comes_along(tmp_path: Path) -> None:
    model = moe_model()
    held = ir.val("held", const_value=ir.tensor(np.arange(16, dtype=np.float32), name="held"))
    node = ir.node("Identity", [held], name="same")
    node.outputs[0].name = "same"
    node.outputs[0].dtype, node.outputs[0].shape = ir.DataType.FLOAT, ir.Shape([16])
    branch = ir.Graph([], node.outputs, nodes=[node], initializers=[held], name="then")
    condition = ir.val("condition", const_value=ir.tensor(np.array(True), name="condition"))
    model.graph.register_initializer(condition)
    chosen = ir.node("If", [condition], {"then_branch": branch, "else_branch": branch.clone()}, name="if")
    chosen.outputs[0].name = "chosen"
    chosen.outputs[0].dtype, chosen.outputs[0].shape = ir.DataType.FLOAT, ir.Shape([16])
    model.graph.append(chosen)
    model.graph.outputs.append(chosen.outputs[0])
    bundle = hetc.compile(scatter(model, tmp_path / "model"), tmp_path / "out.hetc")
    loaded = ir.load(bundle.path / PORTABLE_MODEL)
    assert {data_file(tensor).parent.name for _, tensor in external_tensors(loaded)} == {"weights"}
    held_now = [tensor for slot, tensor in external_tensors(loaded) if slot.name == "held"]
    assert len(held_now) == 2
    for tensor in held_now:
        found = np.fromfile(data_file(tensor), np.float32, 16, offset=tensor.offset or 0)
        np.testing.assert_array_equal(found, np.arange(16))


def test_files_of_one_name_in_two_folders(tmp_path: Path) -> None:
    model = moe_model()
    slots = [slot for slot in tensor_slots(model) if slot.tensor.dtype == ir.DataType.FLOAT][:2]
    for slot, folder in zip(slots, "ab", strict=True):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "w.bin").write_bytes(slot.tensor.tobytes())
        slot.replace(tensor_at(slot.tensor, "w.bin", 0, slot.tensor.nbytes, tmp_path / folder))
    with pytest.raises(InvalidInputError, match="files of one name"):
        hetc.compile(model, tmp_path / "out.hetc")
    assert not (tmp_path / "out.hetc").exists()


def test_everything_that_was_not_rewritten_survives(tmp_path: Path) -> None:
    model = moe_model()
    model.producer_name, model.producer_version, model.domain = "maker", "3", "org.example"
    model.model_version, model.doc_string = 7, "the model"
    model.metadata_props["author"] = "me"
    model.graph.doc_string = "the graph"
    model.graph.metadata_props["graph"] = "g"
    for index, node in enumerate(model.graph):
        node.name = node.name or f"user_{index}"
        node.doc_string = f"doc {index}"
        node.metadata_props["mine"] = str(index)
        for output in node.outputs:
            output.metadata_props["value"] = str(index)
    for name, value in model.graph.initializers.items():
        value.const_value.doc_string = f"weight {name}"  # type: ignore[union-attr]
        value.const_value.metadata_props["of"] = name  # type: ignore[union-attr]
    path = scatter(model, tmp_path / "model")
    before = onnx.load(path, load_external_data=False)
    bundle = hetc.compile(path, tmp_path / "out.hetc")
    after = onnx.load(bundle.path / PORTABLE_MODEL, load_external_data=False)

    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        assert getattr(after, field) == getattr(before, field)
    assert list(before.metadata_props) == [p for p in after.metadata_props if p.key == "author"]
    assert after.graph.doc_string == "the graph"
    assert list(before.graph.metadata_props) == list(after.graph.metadata_props)
    assert [(v.name, v.type) for v in before.graph.input] == [(v.name, v.type) for v in after.graph.input]
    assert [(v.name, v.type) for v in before.graph.output] == [(v.name, v.type) for v in after.graph.output]
    nodes = {node.name: node for node in after.graph.node}
    kept = [node for node in before.graph.node if node.domain != "hetc"]
    assert len(kept) > 20
    for node in kept:
        other = nodes[node.name]
        assert (other.op_type, other.domain, other.doc_string) == (node.op_type, node.domain, node.doc_string)
        assert (list(other.input), list(other.output)) == (list(node.input), list(node.output))
        assert list(other.attribute) == list(node.attribute)
        added = {p.key for p in other.metadata_props} - {p.key for p in node.metadata_props}
        assert all(key.startswith("hetc.") or key == "layer_ann" for key in added)
        assert {("mine", p.value) for p in node.metadata_props} <= {
            (p.key, p.value) for p in other.metadata_props
        }
    values = {v.name: list(v.metadata_props) for v in after.graph.value_info}
    assert before.graph.value_info
    for value in before.graph.value_info:
        assert values[value.name] == list(value.metadata_props)
    tensors = {tensor.name: tensor for tensor in after.graph.initializer}
    assert "lm_head.weight" in tensors
    for tensor in before.graph.initializer:
        other_tensor = tensors[tensor.name]
        assert (other_tensor.dims, other_tensor.data_type) == (tensor.dims, tensor.data_type)
        assert other_tensor.doc_string == tensor.doc_string
        assert list(other_tensor.metadata_props) == list(tensor.metadata_props)
