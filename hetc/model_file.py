"""Loads a model from whatever the user has, and refuses what cannot be compiled, by name."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from hetc.errors import InvalidInputError, UsageError
from hetc.finding import Finding

__all__ = ["LoadedModel", "load_model", "sha256"]

logger = logging.getLogger(__name__)

MODEL_FILE_LIMIT = 2 << 30
"""Protobuf cannot parse more; larger weights belong into external files."""


@dataclass(frozen=True)
class LoadedModel:
    """A model and where it came from.

    Attributes:
        model: The model; external weights stay in their files.
        source: `file`, `sha256` and `producer`, as the plan records them; empty strings where unknown.
        findings: The MoE layers that were not canonical, once they have been looked for.
    """

    model: ir.Model
    source: dict[str, str]
    findings: tuple[Finding, ...] = ()


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's contents."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_model(model: str | Path | onnx.ModelProto | ir.Model | Any) -> LoadedModel:
    """Takes a path, a ModelProto, an onnx-ir Model or a graphsurgeon Graph.

    Every node gets a unique name, since plans refer to nodes by name.

    Raises:
        UsageError: The path isn't there, or the object is of another kind.
        InvalidInputError: Not an ONNX model, or one with missing, truncated or escaping external data.
    """
    if isinstance(model, (str, Path)):
        loaded = _load_file(Path(model))
    elif isinstance(model, ir.Model):
        loaded = _in_memory(model.clone(deep_copy=True))
    elif isinstance(model, onnx.ModelProto):
        loaded = _in_memory(ir.from_proto(model))
    elif type(model).__module__.startswith("onnx_graphsurgeon"):
        import onnx_graphsurgeon

        loaded = _in_memory(ir.from_proto(onnx_graphsurgeon.export_onnx(model, do_type_check=False)))
    else:
        raise UsageError(
            f"cannot compile a {type(model).__name__}; give a path, ModelProto, ir.Model or gs.Graph"
        )
    _check_tensors(loaded)
    _name_nodes(loaded.model)
    return loaded


def _load_file(path: Path) -> LoadedModel:
    if not path.is_file():
        raise UsageError(f"model {path}: no such file")
    if path.stat().st_size == 0:
        raise InvalidInputError(f"model {path} is empty")
    if path.stat().st_size > MODEL_FILE_LIMIT:
        raise InvalidInputError(f"model {path} is larger than 2 GiB; save its weights as external data")
    try:
        proto = onnx.load(path, load_external_data=False)
        model = ir.from_proto(proto)
    except Exception as error:  # protobuf and onnx-ir raise many kinds, and all mean the same to the user
        raise InvalidInputError(f"model {path} is not a readable ONNX file (truncated?): {error}") from error
    ir.external_data.set_base_dir(model.graph, path.parent)
    _check_tensors(LoadedModel(model, {"file": str(path)}))
    try:
        onnx.checker.check_model(_without_external_data(proto))
    except (onnx.checker.ValidationError, RuntimeError) as error:
        raise InvalidInputError(f"model {path} is not a valid ONNX model: {error}") from error
    return LoadedModel(
        model,
        {"file": str(path), "sha256": sha256(path), "producer": model.producer_name or ""},
    )


def _without_external_data(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Makes external tensors inputs: the checker would refuse files with hard links, as `--link` makes."""
    graph = proto.graph
    external = [tensor for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    inputs = {value.name for value in graph.input}
    for tensor in external:
        if tensor.name not in inputs:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    inline = [tensor for tensor in graph.initializer if tensor.data_location != onnx.TensorProto.EXTERNAL]
    del graph.initializer[:]
    graph.initializer.extend(inline)
    return proto


def _in_memory(model: ir.Model) -> LoadedModel:
    return LoadedModel(model, {"file": "", "sha256": "", "producer": model.producer_name or ""})


def _check_tensors(loaded: LoadedModel) -> None:
    """Raises `InvalidInputError` unless every external tensor lies inside the model's folder, whole."""
    where = f"model {loaded.source['file']}" if loaded.source["file"] else "the model"
    if not len(loaded.model.graph):
        raise InvalidInputError(f"{where} has no nodes; is it a truncated file?")
    sizes: dict[str, int] = {}
    for value in loaded.model.graph.initializers.values():
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        name = str(tensor.location)
        if name not in sizes:
            sizes[name] = _external_size(Path(tensor.base_dir), name, f"{where}, tensor {value.name!r}")
        end = (tensor.offset or 0) + (tensor.length or tensor.nbytes)
        if end > sizes[name] or (tensor.length or tensor.nbytes) < tensor.nbytes:
            raise InvalidInputError(
                f"{where}, tensor {value.name!r}: {name} has {sizes[name]} bytes, but the tensor ends at "
                f"{end}; the file is truncated or belongs to another model"
            )


def _external_size(folder: Path, name: str, where: str) -> int:
    file = folder / name
    if Path(name).is_absolute() or not file.resolve().is_relative_to(folder.resolve()):
        raise InvalidInputError(
            f"{where}: its data {name!r} lies outside the model's folder; copy the file beside the model"
        )
    if not file.is_file():
        raise InvalidInputError(f"{where}: its data file {file} is missing")
    return file.stat().st_size


def _name_nodes(model: ir.Model) -> None:
    taken = {node.name for node in model.graph}
    seen: set[str] = set()
    for index, node in enumerate(model.graph):
        if not node.name or node.name in seen:
            name = f"{node.name or node.op_type}_{index}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        seen.add(node.name or "")
