"""Finds matrix products with constant weights, and says which part of which tensor each one reads.

    y = MatMul(x, Transpose(Squeeze(Split(W)[3])))  ->  W, and the view of it that is multiplied

The nodes between a weight and its product only choose and turn: they are applied to the file map itself, so
that a weight is a view (an offset and a length) wherever its numbers lie together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.external_tensors import tensor_values
from hetc.model.weights import FLOATS
from hetc.passes.spellings.constants import computed, constant_tensor
from hetc.passes.spellings.spelling import MismatchError

__all__ = [
    "Product",
    "WeightPath",
    "as_initializer",
    "find_bias",
    "find_products",
    "subgraphs",
    "trace_weight",
]

ROWS_CHOSEN = ("Gather", "GatherND")


@dataclass(frozen=True)
class WeightPath:
    """A constant, and the nodes that it passes on its way to where it is read.

    Attributes:
        source: The initializer, or the output of a Constant node.
        steps: Each node on the way and which of its outputs, in order.
        index: What chooses along the first axis while the model runs; None if every choice is constant.
    """

    source: ir.Value
    steps: tuple[tuple[ir.Node, int], ...]
    index: ir.Value | None

    @property
    def tensor(self) -> ir.TensorProtocol:
        """The numbers of the constant."""
        tensor = constant_tensor(self.source)
        assert tensor is not None
        return tensor

    @cached_property
    def whole(self) -> NDArray[Any]:
        """The constant itself; mapped, not read, where it lies in a file."""
        return tensor_values(self.tensor)

    def split(self) -> tuple[tuple[tuple[ir.Node, int], ...], tuple[tuple[ir.Node, int], ...]]:
        """The steps before the dynamic choice, and those from it on."""
        for position, (node, _) in enumerate(self.steps):
            if _is_dynamic(node):
                return self.steps[:position], self.steps[position:]
        return self.steps, ()

    def view(self, expert: int = 0) -> NDArray[Any]:
        """What arrives, without a copy where numpy needs none; `expert` where the choice is dynamic.

        Raises:
            MismatchError: A node on the way that doesn't just choose and turn.
        """
        array = self.whole
        before, after = self.split()
        for node, output in before:
            array = _apply(node, output, array)
        if not after:
            return array
        chosen: NDArray[Any] = array[expert]
        return chosen.swapaxes(-1, -2) if self.turns % 2 else chosen

    def offset(self) -> int:
        """Bytes from the start of the constant to what arrives; for constant choices."""
        return _address(self.view()) - _address(self.whole)

    @property
    def turns(self) -> int:
        """How often the nodes after a dynamic choice transpose the matrices that were chosen.

        Raises:
            MismatchError: A node there changes them in another way.
        """
        return sum(_turns(node) for node, _ in self.split()[1][1:])

    def count(self) -> int:
        """How many there are to choose from while the model runs; 1 if every choice is constant."""
        if self.index is None:
            return 1
        array = self.whole
        for node, output in self.split()[0]:
            array = _apply(node, output, array)
        return len(array)


@dataclass(frozen=True)
class Product:
    """A MatMul or Gemm with a constant weight.

    Attributes:
        node: The node.
        data: Its other operand.
        weight: Where the weight comes from.
        on_left: Whether the weight is the left operand.
        transposed: Whether Gemm turns the weight.
    """

    node: ir.Node
    data: ir.Value
    weight: WeightPath
    on_left: bool
    transposed: bool

    def matrix(self, expert: int = 0) -> NDArray[Any]:
        """The weight as `[in, out]`."""
        view = self.weight.view(expert)
        if view.ndim != 2:
            raise MismatchError(f"weight {self.weight.source.name!r} is no matrix here", self.node)
        return view.T if self.on_left or self.transposed else view


def find_products(nodes: Iterable[ir.Node]) -> Iterator[Product]:
    """Every product among the nodes and in their subgraphs."""
    for node in nodes:
        if node.op_type in ("MatMul", "Gemm") and node.domain == "" and (product := _product(node)):
            yield product
        for graph in subgraphs(node):
            yield from find_products(graph)


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The bodies of an If, Loop or Scan."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()


def _product(node: ir.Node) -> Product | None:
    left, right = node.inputs[:2]
    if left is None or right is None:
        return None
    attributes = node.attributes
    if node.op_type == "Gemm":
        path = trace_weight(right)
        scaled = any(attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta"))
        if path is None or scaled or attributes.get_int("transA", 0) != 0:
            return None
        return Product(node, left, path, False, attributes.get_int("transB", 0) != 0)
    paths = trace_weight(left), trace_weight(right)
    # Of two constants, as an embedding and what projects it, the data is the one that is looked up.
    if paths[1] is not None and (paths[0] is None or paths[1].index is None):
        return Product(node, left, paths[1], False, False)
    return None if paths[0] is None else Product(node, right, paths[0], True, False)


def find_bias(product: Product) -> WeightPath | None:
    """The constant that is added to a product, on the way that its rows alone take; None without one."""
    node = product.node
    path = None
    if node.op_type == "Gemm" and len(node.inputs) > 2 and node.inputs[2] is not None:
        path = trace_weight(node.inputs[2])
    value = node.outputs[0]
    while path is None and len(value.consumers()) == 1:
        (user,) = value.consumers()
        if user.op_type == "Add":
            path = trace_weight(user.inputs[1 if user.inputs[0] is value else 0])
        if user.op_type not in ("Concat", "Squeeze", "Unsqueeze", "Reshape", "Identity"):
            break
        value = user.outputs[0]
    wide = path is not None and path.view().size == product.matrix().shape[1]
    return path if wide else None


def trace_weight(value: ir.Value | None) -> WeightPath | None:
    """The way of a floating-point constant to `value`; None if it isn't one."""
    steps: list[tuple[ir.Node, int]] = []
    index = None
    while value is not None:
        tensor = constant_tensor(value)
        if tensor is not None:
            return WeightPath(value, tuple(reversed(steps)), index) if tensor.dtype in FLOATS else None
        node = value.producer()
        if node is None or node.domain != "" or node.op_type not in _STEPS:
            return None
        if _is_dynamic(node):
            if index is not None:
                return None
            index = node.inputs[1]
        steps.append((node, node.outputs.index(value)))
        value = node.inputs[0]
    return None


def _is_dynamic(node: ir.Node) -> bool:
    return node.op_type in ROWS_CHOSEN and constant_tensor(node.inputs[1]) is None


def _turns(node: ir.Node) -> bool:
    """Whether a step after the dynamic choice swaps the last two axes; others must leave them alone."""
    if node.op_type == "Transpose":
        order = list(node.attributes["perm"].as_ints()) if "perm" in node.attributes else []
        rank = len(order)
        if order == [*range(rank - 2), rank - 1, rank - 2]:
            return True
        if order and order == list(range(rank)):
            return False
    elif node.op_type in ("Identity", "Squeeze", "Unsqueeze") or _widens(node):
        return False
    raise MismatchError(f"a {node.op_type} changes the weights that were chosen", node)


def _widens(node: ir.Node) -> bool:
    """Whether a Cast keeps every number as it is."""
    return node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.FLOAT.value


def _apply(node: ir.Node, output: int, array: NDArray[Any]) -> NDArray[Any]:
    """One constant step, as a view."""
    constants = [None if value is None else constant_tensor(value) for value in node.inputs[1:]]
    if any(
        value is not None and tensor is None for value, tensor in zip(node.inputs[1:], constants, strict=True)
    ):
        raise MismatchError("a weight is cut by numbers that aren't constant", node)
    numbers = [None if tensor is None else tensor_values(tensor) for tensor in constants]
    return _STEPS[node.op_type](node, output, array, numbers)


def _transpose(node: ir.Node, _: int, array: NDArray[Any], __: list[Any]) -> NDArray[Any]:
    return array.transpose(node.attributes["perm"].as_ints() if "perm" in node.attributes else None)


def _squeeze(_: ir.Node, __: int, array: NDArray[Any], constants: list[Any]) -> NDArray[Any]:
    return array.squeeze(tuple(constants[0].tolist()) if constants else None)


def _unsqueeze(_: ir.Node, __: int, array: NDArray[Any], constants: list[Any]) -> NDArray[Any]:
    return np.expand_dims(array, tuple(constants[0].tolist()))


def _cast(node: ir.Node, _: int, array: NDArray[Any], __: list[Any]) -> NDArray[Any]:
    if not _widens(node):
        raise MismatchError("a weight is converted to a narrower type", node)
    return array


def _reshape(_: ir.Node, __: int, array: NDArray[Any], constants: list[Any]) -> NDArray[Any]:
    shape = [array.shape[axis] if size == 0 else size for axis, size in enumerate(constants[0].tolist())]
    return array.reshape(shape)


def _slice(node: ir.Node, _: int, array: NDArray[Any], constants: list[Any]) -> NDArray[Any]:
    starts, ends, axes, steps = [*constants, None, None][:4]
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    cut = [slice(None)] * array.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 0:
            raise MismatchError("a weight is read backwards", node)
        cut[axis] = slice(start, end, step)
    return array[tuple(cut)]


def _split(node: ir.Node, output: int, array: NDArray[Any], constants: list[Any]) -> NDArray[Any]:
    axis = node.attributes.get_int("axis", 0)
    total, count = array.shape[axis], len(node.outputs)
    sizes = constants[0].tolist() if constants else [-(-total // count)] * count
    start = sum(sizes[:output])
    cut = [slice(None)] * array.ndim
    cut[axis] = slice(start, min(start + sizes[output], total))
    return array[tuple(cut)]


def _gather(node: ir.Node, _: int, array: NDArray[Any], constants: list[Any]) -> NDArray[Any]:
    chosen = constants[0]
    if node.attributes.get_int("axis", 0) == 0 and chosen.size == 1:
        row = int(chosen.item())
        row += len(array) if row < 0 else 0
        return array[row] if chosen.ndim == 0 else array[row : row + 1]
    raise MismatchError("a weight is chosen by more than one constant", node)


def _identity(_: ir.Node, __: int, array: NDArray[Any], ___: list[Any]) -> NDArray[Any]:
    return array


_STEPS = {
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Cast": _cast,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "GatherND": _gather,
    "Identity": _identity,
}


def as_initializer(path: WeightPath, view: NDArray[Any]) -> ir.Value:
    """A new, unnamed initializer of a view of the path's tensor: a place in its file where one piece is.

    Args:
        path: What the view was taken from; its tensor names the layer.
        view: Part of it, however cut and turned.
    """
    tensor = path.tensor
    if path.steps == () and view.shape == tensor.shape and path.source.is_initializer():
        return path.source
    shape = ir.Shape(view.shape)
    external = isinstance(tensor, ir.ExternalTensor)
    if not view.flags.c_contiguous or (external and not np.may_share_memory(view, path.whole)):
        return computed(tensor, view.shape, tensor.dtype, lambda: view)
    result: ir.TensorProtocol
    if isinstance(tensor, ir.ExternalTensor):
        offset = _address(view) - _address(path.whole)
        result = ir.ExternalTensor(
            tensor.location,
            (tensor.offset or 0) + offset,
            view.nbytes,
            tensor.dtype,
            shape=shape,
            name=path.source.name or "",
            base_dir=Path(tensor.base_dir),
        )
    else:
        result = ir.Tensor(view, tensor.dtype, shape=shape, name=path.source.name)
    return ir.Value(type=ir.TensorType(tensor.dtype), shape=shape, const_value=result)


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
