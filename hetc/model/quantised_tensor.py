"""A weight that is stored in few bits: its numbers are computed each time that they are read.

    weight = (code - zero point) * scale        a scale, and perhaps a zero point, for all, a row, or a block

It knows the operator that read it in the source, so that whatever stays digital can be put back as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.external_tensors import tensor_values

__all__ = ["QuantisedForm", "QuantisedTensor", "constant_values", "dequantise"]


@dataclass(frozen=True)
class QuantisedForm:
    """How the source reads a weight.

    Attributes:
        domain: Domain of the operator.
        operator: `MatMulNBits`, `DequantizeLinear` or `MatMulInteger`.
        constants: What it reads besides activations: codes, scales, zero points and the like, in the order of
            its inputs (of MatMulInteger codes, scales, zero points); None for absent ones.
        attributes: Its attributes.
        stored: What a number is stored as, for people: `uint4, 32 to a scale`.
        activation_bits: To how many bits the source rounds what it multiplies the weight by; 0 for none.
    """

    domain: str
    operator: str
    constants: tuple[ir.Value | None, ...]
    attributes: Mapping[str, ir.Attr]
    stored: str
    activation_bits: int = 0


class QuantisedTensor(ir.LazyTensor):
    """A tensor that is dequantised whenever it is read, and kept by nobody.

    Args:
        form: How the source reads it.
        numbers: Computes it, float32.
        dtype: Type of its numbers: that of their scales.
        shape: Its shape.
        name: Its name.
    """

    def __init__(
        self,
        form: QuantisedForm,
        numbers: Callable[[], NDArray[np.float32]],
        dtype: ir.DataType,
        shape: tuple[int, ...],
        name: str,
    ) -> None:
        def tensor() -> ir.TensorProtocol:
            return ir.Tensor(numbers().astype(dtype.numpy(), copy=False), dtype)

        super().__init__(tensor, dtype, ir.Shape(shape), name=name, cache=False)
        self.form = form


def dequantise(
    codes: NDArray[Any],
    scales: NDArray[Any],
    zero_points: NDArray[Any] | None = None,
    axis: int = -1,
    block: int = 0,
) -> NDArray[np.float32]:
    """`(codes - zero_points) * scales`, as DequantizeLinear of ONNX defines it.

    Args:
        codes: Whole numbers, or floats of 8 bits and less.
        scales: One, one for each index along `axis`, or of the shape of `codes` but for fewer along `axis`.
        zero_points: Of the shape of `scales`.
        axis: The axis.
        block: How many along `axis` share a scale, where scales have the shape of `codes`; the last block
            may be shorter.

    Returns:
        float32 of the shape of `codes`.
    """
    values = codes.astype(np.float32)
    rows = np.moveaxis(values, axis, 0)
    for part, combine in ((zero_points, np.subtract), (scales, np.multiply)):
        if part is None:
            continue
        wide = part.astype(np.float32)
        if wide.size == 1:
            combine(values, wide.reshape(()), out=values)
        elif wide.ndim < values.ndim:
            combine(rows, wide.reshape(-1, *[1] * (values.ndim - 1)), out=rows)
        else:
            for index, one in enumerate(np.moveaxis(wide, axis, 0)):  # no second array of the size of values
                block_rows = rows[index * block : (index + 1) * block]
                combine(block_rows, one, out=block_rows)
    return values


def constant_values(value: ir.Value) -> NDArray[Any]:
    """The numbers of one of a form's constants, in its own type; mapped where they lie in a file."""
    assert value.const_value is not None
    return tensor_values(value.const_value)
