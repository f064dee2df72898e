"""Reads weights one at a time, straight out of their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from hetc.errors import InvalidInputError
from hetc.units import Matrix

__all__ = ["FLOATS", "neuron_norms", "read_matrix", "read_tensor", "require_finite"]

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
"""Weight types that the operators take."""


def read_tensor(model: ir.Model, name: str) -> np.ndarray:
    """The initializer `name`, in its own dtype; a file map where the weight lies in a file.

    onnx-ir would refuse files with more than one hard link, which `--link` makes on purpose; that the file
    lies inside the model's folder was checked when the model was loaded.

    Raises:
        InvalidInputError: The weight is a graph input without a value.
    """
    tensor = model.graph.initializers[name].const_value
    if tensor is None:
        raise InvalidInputError(f"weight {name!r} has no value; it must be an initializer, not a graph input")
    if not isinstance(tensor, ir.ExternalTensor):
        return tensor.numpy()
    return np.memmap(
        Path(tensor.base_dir, tensor.location),
        dtype=tensor.dtype.numpy(),
        mode="r",
        offset=tensor.offset or 0,
        shape=tensor.shape.numpy(),
    )


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
