"""What a model must be before anything is done with it; each refusal names file and tensor or node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
import onnx_ir as ir

from hetc.base.errors import InvalidInputError
from hetc.model.external_tensors import data_file, external_tensors

__all__ = ["check_graph", "check_model", "check_proto"]

SPARSE = (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS)


def check_proto(proto: onnx.ModelProto, where: str) -> None:
    """Refuses what onnx-ir would drop without a word, and versions that nobody here knows.

    Args:
        proto: The model as it was read.
        where: How messages call it.

    Raises:
        InvalidInputError: A sparse tensor, a newer IR version, or data at a place that is no number.
    """
    if proto.ir_version > onnx.IR_VERSION:
        raise InvalidInputError(
            f"{where} has IR version {proto.ir_version}, but the installed onnx {onnx.__version__} knows "
            f"{onnx.IR_VERSION} and older; update onnx, or export the model with an older IR version"
        )
    for tensor in _tensors(proto):
        for entry in tensor.external_data:
            if entry.key in ("offset", "length") and not entry.value.isdecimal():
                raise InvalidInputError(
                    f"{where}, tensor {tensor.name!r}: {entry.key} {entry.value!r} is no count of bytes; "
                    "export the model again"
                )
    for nodes, graph in _scopes(proto):
        if graph is not None and graph.sparse_initializer:
            name = graph.sparse_initializer[0].values.name
            raise InvalidInputError(f"{where}: initializer {name!r} is sparse; store it as a dense tensor")
        for node in nodes:
            for attribute in node.attribute:
                if attribute.type in SPARSE:
                    raise InvalidInputError(
                        f"{where}, node {node.name!r}: {attribute.name} is a sparse tensor; store it densely"
                    )


def check_graph(proto: onnx.ModelProto, where: str) -> None:
    """Runs onnx's checker; consumes the proto.

    The checker would refuse data files with several hard links, which `--link` makes, so it sees tensors
    without elements in place of those in files.

    Raises:
        InvalidInputError: The model is not valid ONNX, in the checker's words.
    """
    for tensor in _tensors(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
            tensor.dims[:] = [0]
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, RuntimeError) as error:
        raise InvalidInputError(f"{where} is not a valid ONNX model: {error}") from error


def check_model(model: ir.Model, where: str) -> None:
    """Checks that there are nodes, and that every tensor in a file lies inside the model's folder, whole.

    Raises:
        InvalidInputError: An empty graph, a path that leads out of the folder, or a file that is missing or
            too short.
    """
    if not len(model.graph):
        raise InvalidInputError(f"{where} has no nodes; is it a truncated file?")
    sizes: dict[Path, int] = {}
    for slot, tensor in external_tensors(model):
        name = f"{where}, tensor {slot.name!r}"
        file = data_file(tensor)
        if file not in sizes:
            _check_location(Path(tensor.base_dir), str(tensor.location), name)
            sizes[file] = file.stat().st_size
        offset, length = tensor.offset or 0, tensor.nbytes if tensor.length is None else tensor.length
        if length < tensor.nbytes:
            raise InvalidInputError(
                f"{name} has {length} bytes at {offset} of {tensor.location}, but its type and shape need "
                f"{tensor.nbytes}; export the model again"
            )
        if offset + length > sizes[file]:
            raise InvalidInputError(
                f"{name}: {tensor.location} has {sizes[file]} bytes, but the tensor ends at "
                f"{offset + length}; the file is truncated or belongs to another model"
            )


def _check_location(folder: Path, location: str, name: str) -> None:
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive
    file = folder / location
    if absolute or ".." in Path(location).parts or not file.resolve().is_relative_to(folder.resolve()):
        raise InvalidInputError(
            f"{name}: its data {location!r} lies outside the model's folder; copy the file beside the model"
        )
    if not file.is_file():
        raise InvalidInputError(f"{name}: its data file {file} is missing")


_Scope = tuple[Iterable[onnx.NodeProto], "onnx.GraphProto | None"]


def _scopes(proto: onnx.ModelProto) -> Iterator[_Scope]:
    """The nodes of every graph and function, with the graph where it is one."""
    yield from _graph_scopes(proto.graph)
    for function in proto.functions:
        yield function.node, None
        yield from _inner_scopes(function.node)


def _graph_scopes(graph: onnx.GraphProto) -> Iterator[_Scope]:
    yield graph.node, graph
    yield from _inner_scopes(graph.node)


def _inner_scopes(nodes: Iterable[onnx.NodeProto]) -> Iterator[_Scope]:
    for node in nodes:
        for attribute in node.attribute:
            for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _graph_scopes(graph)


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for nodes, graph in _scopes(proto):
        if graph is not None:
            yield from graph.initializer
        for node in nodes:
            for attribute in node.attribute:
                yield from [attribute.t] if attribute.HasField("t") else attribute.tensors
