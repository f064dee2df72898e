"""Every tensor that may lie in a file: initializers and attributes, those of subgraphs and functions too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.hub_snapshot import belongs_to

__all__ = [
    "TensorSlot",
    "data_file",
    "external_tensors",
    "follow_links",
    "tensor_at",
    "tensor_slots",
    "tensor_values",
]


@dataclass(frozen=True)
class TensorSlot:
    """A place in a model that holds a tensor.

    Attributes:
        name: Name of the initializer, or of the node and attribute, for messages.
        tensor: What it holds.
        replace: Makes it hold another.
    """

    name: str
    tensor: ir.TensorProtocol
    replace: Callable[[ir.TensorProtocol], None]


def tensor_slots(model: ir.Model) -> Iterator[TensorSlot]:
    """Every tensor of a model; each may be replaced while the iteration stands at it."""
    functions = model.functions.values()
    for graph in (*model.graphs(), *(inner for function in functions for inner in function.subgraphs())):
        for name, value in graph.initializers.items():
            if value.const_value is not None:
                yield TensorSlot(name, value.const_value, _value_setter(value))
    parts: list[ir.Graph | ir.Function] = [model.graph, *functions]
    for part in parts:
        for node in ir.traversal.RecursiveGraphIterator(part):
            yield from _attribute_tensors(node)


def external_tensors(model: ir.Model) -> Iterator[tuple[TensorSlot, ir.ExternalTensor]]:
    """Those of `tensor_slots` that lie in files."""
    for slot in tensor_slots(model):
        if isinstance(slot.tensor, ir.ExternalTensor):
            yield slot, slot.tensor


def data_file(tensor: ir.ExternalTensor) -> Path:
    """The file that a tensor lies in."""
    return Path(tensor.base_dir, tensor.location)


def follow_links(model: ir.Model, folder: Path) -> Path:
    """Has a model whose weight files are links into blobs refer to these; ONNX Runtime follows no links.

    Args:
        model: The model; its tensors are told where they lie.
        folder: Where its external tensors lie now, such as a snapshot in the Hugging Face cache.

    Returns:
        Where they lie then: `folder`, or the folder above all blobs.
    """
    files = {data_file(tensor) for _, tensor in external_tensors(model)}
    real = {file: file.resolve() for file in files if belongs_to(folder, file)}
    outside = any(folder.resolve() not in file.parents for file in real.values())
    if not outside or len(real) < len(files):
        return folder
    above = Path(os.path.commonpath([file.parent for file in real.values()]))
    for slot, tensor in external_tensors(model):
        location = real[data_file(tensor)].relative_to(above).as_posix()
        slot.replace(tensor_at(tensor, location, tensor.offset, tensor.length, above))
    return above


def tensor_values(tensor: ir.TensorProtocol) -> NDArray[Any]:
    """The numbers of a tensor, in its own dtype; mapped where they lie in a file.

    onnx-ir would refuse files with several hard links, which `--link` makes on purpose; that a file lies
    inside the model's folder is checked when the model is loaded.
    """
    if not isinstance(tensor, ir.ExternalTensor) or tensor.dtype.bitwidth < 8:
        return tensor.numpy()
    return np.memmap(
        data_file(tensor),
        dtype=tensor.dtype.numpy(),
        mode="r",
        offset=tensor.offset or 0,
        shape=tensor.shape.numpy(),
    )


def tensor_at(
    tensor: ir.TensorProtocol, location: str, offset: int | None, length: int | None, folder: Path
) -> ir.ExternalTensor:
    """A tensor as it lies at another place; its name, type, shape and metadata stay."""
    return ir.ExternalTensor(
        location,
        offset,
        length,
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=tensor.name or "",
        doc_string=tensor.doc_string,
        metadata_props=dict(tensor.metadata_props),
        base_dir=folder,
    )


def _attribute_tensors(node: ir.Node) -> Iterator[TensorSlot]:
    for name, attribute in list(node.attributes.items()):
        if attribute.is_ref():
            continue
        where = f"{node.name}.{name}"
        if attribute.type == ir.AttributeType.TENSOR:
            yield TensorSlot(where, attribute.as_tensor(), _attribute_setter(node, name))
        elif attribute.type == ir.AttributeType.TENSORS:
            for index, tensor in enumerate(attribute.as_tensors()):
                yield TensorSlot(where, tensor, _attribute_setter(node, name, index))


def _value_setter(value: ir.Value) -> Callable[[ir.TensorProtocol], None]:
    def replace(tensor: ir.TensorProtocol) -> None:
        tensor.name = value.name
        value.const_value = tensor

    return replace


def _attribute_setter(
    node: ir.Node, name: str, index: int | None = None
) -> Callable[[ir.TensorProtocol], None]:
    def replace(tensor: ir.TensorProtocol) -> None:
        old = node.attributes[name]
        if index is None:
            node.attributes[name] = ir.AttrTensor(name, tensor, doc_string=old.doc_string)
        else:
            tensors = list(old.as_tensors())
            tensors[index] = tensor
            node.attributes[name] = ir.AttrTensors(name, tensors, doc_string=old.doc_string)

    return replace
