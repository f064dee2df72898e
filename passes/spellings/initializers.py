"""Makes new initializers, of parts of stacked weights without copying them.

A view of a tensor in a file is another offset into that file; of a tensor in memory, a slice of its array.
Where the numbers of one expert don't lie together (interleaved, or the columns of a row-major matrix), they
are gathered when they are read: each expert is computed anew at every use, and nothing is kept in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.external_tensors import tensor_values
from hetc.model.quantised_tensor import QuantisedTensor
from hetc.passes.spellings.constants import constant_tensor
from hetc.passes.spellings.spelling import MismatchError
from hetc.passes.spellings.weight_path import WeightPath, address

__all__ = ["as_initializer", "computed", "unstack", "weight"]


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
    return _new_initializer(tensor)


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
        return _new_initializer(
            ir.Tensor(tensor_values(tensor)[expert, rows], tensor.dtype, name=tensor.name)
        )
    row = math.prod(rest) * tensor.dtype.bitwidth // 8
    return _place_in_file(tensor, (expert * count + first) * row, shape, stack.name)


def as_initializer(path: WeightPath, view: NDArray[Any]) -> ir.Value:
    """A new, unnamed initializer of a view of the path's tensor: a place in its file where one piece is.

    Args:
        path: What the view was taken from; its tensor names the layer.
        view: Part of it, however cut and turned.
    """
    tensor = path.tensor
    if path.steps == () and view.shape == tensor.shape and path.source.is_initializer():
        return path.source
    if isinstance(tensor, QuantisedTensor):
        return _part_of_quantised(path, view)
    external = isinstance(tensor, ir.ExternalTensor)
    if not view.flags.c_contiguous or (external and not np.may_share_memory(view, path.whole)):
        return computed(tensor, view.shape, tensor.dtype, lambda: view)
    if isinstance(tensor, ir.ExternalTensor):
        return _place_in_file(tensor, address(view) - address(path.whole), view.shape, path.source.name)
    return _new_initializer(ir.Tensor(view, tensor.dtype, name=path.source.name))


def _part_of_quantised(path: WeightPath, view: NDArray[Any]) -> ir.Value:
    """The initializer itself where all of it is viewed as it lies; else what is cut when it is read."""
    tensor, whole = path.tensor, path.whole
    offset = address(view) - address(whole)
    if (offset, view.shape, view.strides) == (0, whole.shape, whole.strides) and path.source.is_initializer():
        return path.source
    shape, strides = view.shape, view.strides  # the view itself would hold its memory

    def numbers() -> NDArray[Any]:
        values = np.ascontiguousarray(tensor_values(tensor))
        return np.ndarray(shape, values.dtype, values, offset, strides)

    return computed(tensor, shape, tensor.dtype, numbers)


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

    return _new_initializer(ir.LazyTensor(tensor, dtype, ir.Shape(shape), name=source.name, cache=False))


def _place_in_file(
    tensor: ir.ExternalTensor, offset: int, shape: Sequence[int], name: str | None
) -> ir.Value:
    """A new, unnamed initializer of a piece of a tensor that lies in a file.

    Args:
        tensor: The tensor.
        offset: Bytes from its start to the piece.
        shape: Shape of the piece.
        name: Tells the layer.
    """
    return _new_initializer(
        ir.ExternalTensor(
            tensor.location,
            (tensor.offset or 0) + offset,
            math.prod(shape) * tensor.dtype.bitwidth // 8,
            tensor.dtype,
            shape=ir.Shape(shape),
            name=name or "",
            base_dir=tensor.base_dir,
        )
    )


def _new_initializer(tensor: ir.TensorProtocol) -> ir.Value:
    """A new, unnamed initializer of a tensor."""
    shape = ir.Shape(tensor.shape.numpy())
    return ir.Value(type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)
