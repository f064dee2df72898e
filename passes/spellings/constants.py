"""Reads constants of a graph, and cuts stacked expert weights apart without copying them.

A view of a tensor in a file is another offset into that file; of a tensor in memory, a slice of its array.
Where the numbers of one expert don't lie together (interleaved, or the columns of a row-major matrix), they
are gathered when they are read: each expert is computed anew at every use, and nothing is kept in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, overload

import ml_dtypes  # noqa: F401  bfloat16 for numpy
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.external_tensors import tensor_values
from hetc.passes.spellings.spelling import MismatchError

__all__ = ["computed", "constant_tensor", "small_constant", "unstack", "weight"]


def weight(value: ir.Value | None, user: ir.Node) -> ir.Value:
    """The initializer behind `value`, or a new one for a Constant node; names its shape and type.

    Raises:
        MismatchError: It is computed, absent, or a graph input that callers may feed; blamed on `user`.
    """
    if value is None:
        raise MismatchError("a weight is absent", user)
    if value.is_graph_input():
        raise MismatchError(f"weight {value.name!r} is a graph input; make it an initializer only", user)
    if value.is_initializer():
        if value.const_value is None:
            raise MismatchError(f"weight {value.name!r} has no value", user)
        return value
    tensor = constant_tensor(value)
    if tensor is None:
        raise MismatchError(f"weight {value.name!r} is computed, not an initializer", user)
    return _new_value(tensor)


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor that `value` always is: a fixed initializer, or made by a Constant node; else None."""
    if value is None or value.is_graph_input():
        return None
    if value.is_initializer():
        return value.const_value
    node = value.producer()
    if node is not None and node.op_identifier() == ("", "Constant", "") and "value" in node.attributes:
        return node.attributes["value"].as_tensor()  # get_const_tensor would rename it
    return ir.convenience.get_const_tensor(value)


def small_constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The numbers of a constant of at most 16 elements (axes, shapes, scalars); None for anything else."""
    tensor = constant_tensor(value)
    return None if tensor is None or tensor.size > 16 else tensor_values(tensor)


@overload
def unstack(stack: ir.Value, expert: int, rows: slice = ...) -> ir.Value: ...
@overload
def unstack(stack: None, expert: int, rows: slice = ...) -> None: ...
def unstack(stack: ir.Value | None, expert: int, rows: slice = slice(None)) -> ir.Value | None:
    """`stack[expert, rows]` as a new, unnamed initializer: a view where its numbers lie together.

    Args:
        stack: A weight, `[E, N, ...]`; None for an absent one gives None.
        expert: Index along the first axis.
        rows: Which of the N rows; with a step (interleaved rows) the result is gathered when it is read.
    """
    if stack is None:
        return None
    tensor = stack.const_value
    assert tensor is not None
    _, count, *rest = tensor.shape.numpy()
    first, last, step = rows.indices(count)
    shape = (len(range(first, last, step)), *rest)
    if step != 1:
        return computed(tensor, shape, tensor.dtype, lambda: tensor_values(tensor)[expert, rows])
    if not isinstance(tensor, ir.ExternalTensor):
        return _new_value(ir.Tensor(tensor_values(tensor)[expert, rows], tensor.dtype, name=tensor.name))
    row = math.prod(rest) * tensor.dtype.bitwidth // 8
    return _new_value(
        ir.ExternalTensor(
            tensor.location,
            (tensor.offset or 0) + (expert * count + first) * row,
            shape[0] * row,
            tensor.dtype,
            shape=ir.Shape(shape),
            name=stack.name or "",
            base_dir=tensor.base_dir,
        )
    )


def computed(
    source: ir.TensorProtocol,
    shape: Sequence[int],
    dtype: ir.DataType,
    numbers: Callable[[], NDArray[Any]],
) -> ir.Value:
    """A new, unnamed initializer whose numbers are computed whenever they are read.

    Args:
        source: The tensor that they are computed from; its name tells the layer.
        shape: Shape of the numbers.
        dtype: Their type.
        numbers: Computes them.
    """

    def tensor() -> ir.TensorProtocol:
        return ir.Tensor(np.ascontiguousarray(numbers()), dtype)

    return _new_value(ir.LazyTensor(tensor, dtype, ir.Shape(shape), name=source.name, cache=False))


def _new_value(tensor: ir.TensorProtocol) -> ir.Value:
    shape = ir.Shape(tensor.shape.numpy())
    return ir.Value(type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)
