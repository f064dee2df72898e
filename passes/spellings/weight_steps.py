"""Nodes that only choose and turn weights, applied as views: a weight is not copied to be looked at.

    Slice(W)  ->  W[start:end:step]        Transpose(W)  ->  W.T

Other nodes are refused: what they make is no part of a file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.external_tensors import tensor_values
from hetc.passes.spellings.constants import constant_tensor
from hetc.passes.spellings.spelling import MismatchError

__all__ = ["apply_step", "chooses_while_running", "is_step", "turns_chosen", "widens"]


def is_step(node: ir.Node) -> bool:
    """Whether a node is of a kind that chooses and turns."""
    return node.domain == "" and node.op_type in _STEPS


def chooses_while_running(node: ir.Node) -> bool:
    """Whether a node chooses along the first axis by what isn't constant."""
    return node.op_type in ("Gather", "GatherND") and constant_tensor(node.inputs[1]) is None


def widens(node: ir.Node) -> bool:
    """Whether a node is a Cast that keeps every number as it is: to float32, or to the type that it has."""
    if node.op_type != "Cast" or node.inputs[0] is None:
        return False
    to = ir.DataType(node.attributes["to"].as_int())
    return to in (ir.DataType.FLOAT, node.inputs[0].dtype)


def turns_chosen(node: ir.Node) -> bool:
    """Whether a step after a choice while running swaps the last two axes; others must leave them alone.

    Raises:
        MismatchError: It changes the matrices in another way.
    """
    if node.op_type == "Transpose":
        order = list(node.attributes["perm"].as_ints()) if "perm" in node.attributes else []
        rank = len(order)
        if order == [*range(rank - 2), rank - 1, rank - 2]:
            return True
        if order and order == list(range(rank)):
            return False
    elif node.op_type in ("Identity", "Squeeze", "Unsqueeze") or widens(node):
        return False
    raise MismatchError(f"a {node.op_type} changes the weights that were chosen", node)


def apply_step(node: ir.Node, output: int, array: NDArray[Any]) -> NDArray[Any]:
    """What a node with constant choices makes of its first input, as a view of that.

    Args:
        node: The node, see `is_step`.
        output: Which of its outputs.
        array: Its first input.

    Raises:
        MismatchError: It doesn't just choose and turn.
    """
    constants = [None if value is None else constant_tensor(value) for value in node.inputs[1:]]
    if any(
        value is not None and tensor is None for value, tensor in zip(node.inputs[1:], constants, strict=True)
    ):
        raise MismatchError("a weight is cut by numbers that aren't constant", node)
    numbers = [None if tensor is None else tensor_values(tensor) for tensor in constants]
    try:
        return _STEPS[node.op_type](node, output, array, numbers)
    except (ValueError, IndexError, TypeError, KeyError) as error:  # as numpy says that axes don't match
        raise MismatchError(f"a weight can't be taken through this {node.op_type}: {error}", node) from error


def _transpose(node: ir.Node, _: int, array: NDArray[Any], __: list[Any]) -> NDArray[Any]:
    return array.transpose(node.attributes["perm"].as_ints() if "perm" in node.attributes else None)


def _squeeze(_: ir.Node, __: int, array: NDArray[Any], constants: list[Any]) -> NDArray[Any]:
    return array.squeeze(tuple(constants[0].tolist()) if constants else None)


def _unsqueeze(_: ir.Node, __: int, array: NDArray[Any], constants: list[Any]) -> NDArray[Any]:
    return np.expand_dims(array, tuple(constants[0].tolist()))


def _cast(node: ir.Node, _: int, array: NDArray[Any], __: list[Any]) -> NDArray[Any]:
    if not widens(node):
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
