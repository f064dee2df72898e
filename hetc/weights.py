"""Reads weights one at a time, straight out of their files."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from hetc.errors import InvalidInputError
from hetc.units import Matrix

__all__ = ["FLOATS", "neuron_norms", "read_matrix", "read_tensor", "require_finite"]

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
"""Weight types that the operators take."""


def read_tensor(model: ir.Model, name: str) -> np.ndarray:
    """The initializer `name`, in its own dtype.

    A throw-away tensor object holds the file map, so nothing stays mapped or copied afterwards.
    """
    tensor = model.graph.initializers[name].const_value
    if isinstance(tensor, ir.ExternalTensor):
        tensor = ir.ExternalTensor(
            tensor.location,
            tensor.offset,
            tensor.length,
            tensor.dtype,
            shape=tensor.shape,
            name=name,
            base_dir=tensor.base_dir,
        )
    if tensor is None:
        raise InvalidInputError(f"weight {name!r} has no value; it must be an initializer, not a graph input")
    return tensor.numpy()


def read_matrix(model: ir.Model, matrix: Matrix) -> np.ndarray:
    """The matrix as float32 `[outputs, inputs]`."""
    weight = read_tensor(model, matrix.weight).astype(np.float32)
    return weight if matrix.transposed else weight.T


def neuron_norms(model: ir.Model, matrix: Matrix) -> np.ndarray:
    """Euclidean norm of each output neuron, `[outputs]` float32."""
    weight = read_matrix(model, matrix)
    return np.asarray(np.linalg.norm(weight, axis=1))


def require_finite(model: ir.Model, matrix: Matrix) -> None:
    """Raises `InvalidInputError` if the matrix holds a NaN or an infinity."""
    if not np.isfinite(read_tensor(model, matrix.weight).astype(np.float32)).all():
        raise InvalidInputError(
            f"weight {matrix.weight!r} holds NaN or infinity; a crossbar cannot be programmed with it"
        )
