"""What a model must be before anything is done with it; each refusal names file and tensor or node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
import onnx_ir as ir

from hetc.base.errors import InvalidInputError
from hetc.model.contributed import register_contributed
from hetc.model.external_tensors import data_file, external_tensors, tensor_slots
from hetc.model.functions import check_functions
from hetc.model.hub_snapshot import belongs_to

__all__ = ["check_graph", "check_model", "check_proto", "is_sorted"]

KNOWN_TYPES = frozenset(kind.value for kind in ir.DataType if kind != ir.DataType.UNDEFINED)
"""What tensors may hold."""
MOST_FOLDERS = 1000
"""How many folders are searched for a missing file."""
SPARSE = (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS)


def check_proto(proto: onnx.ModelProto, where: str) -> None:
    """Refuses what onnx-ir would drop without a word, and versions that nobody here knows.

    Args:
        proto: The model as it was read.
        where: How messages call it.

    Raises:
        InvalidInputError: A sparse tensor, a newer IR version, a type or shape that no tensor has, data at a
            place that is no number, or functions that grow without bounds.
    """
    if proto.ir_version > onnx.IR_VERSION:
        raise InvalidInputError(
            f"{where} has IR version {proto.ir_version}, but the installed onnx {onnx.__version__} knows "
            f"{onnx.IR_VERSION} and older; update onnx, or export the model with an older IR version"
        )
    check_functions(proto, where)
    for tensor in _tensors(proto):
        if tensor.data_type not in KNOWN_TYPES or min(tensor.dims, default=0) < 0:
            raise InvalidInputError(
                f"{where}, tensor {tensor.name!r}: no tensor has type {tensor.data_type} and shape "
                f"{list(tensor.dims)}; export the model again"
            )
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
    """Runs onnx's checker, which is told of ONNX Runtime's own operators before.

    The checker would refuse data files with several hard links, which `--link` makes, so it sees tensors
    without elements in place of those in files.

    Raises:
        InvalidInputError: The model is not valid ONNX, in the checker's words.
    """
    register_contributed((node.domain, node.op_type) for nodes, _ in _scopes(proto) for node in nodes)
    in_files = [tensor for tensor in _tensors(proto) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    kept = [tensor.SerializeToString() for tensor in in_files]
    for tensor in in_files:
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")
        tensor.dims[:] = [0]
    try:
        onnx.checker.check_model(proto)
    except UnicodeDecodeError as error:  # what the checker says quotes a name that is no text
        said = error.object.decode("utf-8", "backslashreplace")
        raise InvalidInputError(f"{where} is not a valid ONNX model: {said}") from error
    except (onnx.checker.ValidationError, RuntimeError) as error:
        raise InvalidInputError(f"{where} is not a valid ONNX model: {error}") from error
    finally:
        for tensor, before in zip(in_files, kept, strict=True):
            tensor.ParseFromString(before)


def is_sorted(proto: onnx.ModelProto) -> bool:
    """Whether each node comes after those that it reads from; float16 converters leave some before."""
    for nodes, _ in _scopes(proto):
        nodes = list(nodes)
        later = {name for node in nodes for name in node.output if name}
        for node in nodes:
            if not later.isdisjoint(_reads(node)):
                return False
            later.difference_update(node.output)
    return True


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node and the nodes of its subgraphs read."""
    yield from node.input
    for nodes, graph in _inner_scopes([node]):
        made = {name for one in nodes for name in one.output}
        made |= {value.name for value in graph.input} if graph is not None else set()
        yield from (name for one in nodes for name in one.input if name not in made)


def check_model(model: ir.Model, where: str) -> None:
    """Checks that there are nodes, that names are text, and that every tensor is whole.

    Raises:
        InvalidInputError: An empty graph, a name that is no text, a tensor with more or less numbers than its
            shape says, or one in a file that is missing, too short, or outside the model's folder.
    """
    if not len(model.graph):
        raise InvalidInputError(f"{where} has no nodes; is it a truncated file?")
    for owner, text in _texts(model):
        if not isinstance(text, (str, type(None))):
            raise InvalidInputError(f"{where}: the {owner} {text!r} is no text; the file is damaged")
    _check_inline(model, where)
    _check_declarations(model, where)
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


def _check_inline(model: ir.Model, where: str) -> None:
    """Refuses tensors in the model itself whose bytes don't fill their shape."""
    for slot in tensor_slots(model):
        if isinstance(slot.tensor, ir.TensorProtoTensor):
            try:
                slot.tensor.numpy()
            except Exception as error:  # onnx-ir and NumPy raise several kinds
                raise InvalidInputError(
                    f"{where}, tensor {slot.name!r}: its numbers don't fill the shape {slot.tensor.shape} of "
                    f"{slot.tensor.dtype}: {error}; the file is damaged"
                ) from error


def _check_declarations(model: ir.Model, where: str) -> None:
    """Refuses initializers that are declared as something else, too; what is declared loosely, they tell.

    So they do of a stale shape in a note about them, as ONNX Runtime's transformers optimizer leaves it of a
    weight that it turned: only an input is declared for others to rely on.
    """
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is None:
                continue
            if not value.is_graph_input():
                value.shape = None
            declared = value.shape if value.shape is not None else tensor.shape
            sizes = [size for size in declared if isinstance(size, int)]
            known = [own for own, size in zip(tensor.shape, declared, strict=False) if isinstance(size, int)]
            if (
                (value.dtype or tensor.dtype) != tensor.dtype
                or len(declared) != len(tensor.shape)
                or sizes != known
            ):
                raise InvalidInputError(
                    f"{where}: initializer {name!r} is {tensor.dtype} {tensor.shape}, but declared to be "
                    f"{value.dtype} {declared}; export the model again"
                )
            value.shape = ir.Shape(tensor.shape.numpy())


def _texts(model: ir.Model) -> Iterator[tuple[str, object]]:
    """Everything in a model that is to be text, and what it is."""
    for name in ("producer_name", "producer_version", "domain", "doc_string"):
        yield name, getattr(model, name)
    yield from _pairs("metadata", model.metadata_props)
    parts: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in model.graphs():
        yield "graph name", graph.name
        yield from _pairs("metadata", graph.metadata_props)
        for value in (*graph.inputs, *graph.initializers.values()):
            yield from _value_texts(value)
    for node in (node for part in parts for node in ir.traversal.RecursiveGraphIterator(part)):
        yield "node name", node.name
        yield "operator", node.op_type
        yield "domain", node.domain
        yield "doc_string", node.doc_string
        yield from _pairs("metadata", node.metadata_props)
        for name, attribute in node.attributes.items():
            yield "attribute", name
            if attribute.type == ir.AttributeType.STRING:
                yield f"attribute {name}", attribute.value
        for value in node.outputs:
            yield from _value_texts(value)


def _value_texts(value: ir.Value) -> Iterator[tuple[str, object]]:
    yield "value name", value.name
    yield "doc_string", value.doc_string
    yield from _pairs("metadata", value.metadata_props)
    for size in value.shape or ():
        yield "size", size.value if isinstance(size, ir.SymbolicDim) else None


def _pairs(owner: str, properties: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    for pair in properties.items():
        for text in pair:
            yield owner, text


def _check_location(folder: Path, location: str, name: str) -> None:
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive
    file = folder / location
    if absolute or ".." in Path(location).parts or not belongs_to(folder, file):
        raise InvalidInputError(
            f"{name}: its data {location!r} lies outside the model's folder; copy the file beside the model"
        )
    if not file.is_file():
        raise InvalidInputError(f"{name}: its data file {file} is missing{_elsewhere(folder, location)}")


def _elsewhere(folder: Path, location: str) -> str:
    """Where a file of a missing one's name lies, in the folders around the model's; empty if nowhere."""
    around = [folder, *_folders(folder), folder.resolve().parent, *_folders(folder.resolve().parent)]
    for place in around:
        found = place / PurePosixPath(location).name
        if found.is_file():
            return (
                f"; {place} holds a file of that name: copy the model or its data, so that they lie together"
            )
    return ""


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, as far as they may be listed."""
    try:
        return sorted(one for one in folder.iterdir() if one.is_dir())[:MOST_FOLDERS]
    except OSError:
        return []


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
