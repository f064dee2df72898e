"""Reads constants of a graph: initializers that no caller may feed, and what Constant nodes make."""

from __future__ import annotations

from typing import Any

import ml_dtypes  # noqa: F401  bfloat16 for numpy
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.external_tensors import tensor_values

__all__ = ["constant_tensor", "small_constant"]


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
