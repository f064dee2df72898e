"""Records the nodes and constants that a pass adds, each with a name of its own under one prefix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

__all__ = ["NamedTape"]


class NamedTape:
    """New nodes in order, and the new constants that they read.

    Args:
        prefix: Leads every name: prefix `layers.3.experts` and name `sort` make `layers.3.experts/sort`.

    Attributes:
        nodes: What was recorded; the caller inserts it.
        constants: Values for the caller to register as initializers.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []

    def op(
        self,
        name: str,
        operator: str,
        inputs: Sequence[ir.Value | None],
        **attributes: int | float | str | Sequence[int],
    ) -> ir.Value:
        """Records a node of the standard domain with one output, and returns that."""
        output = ir.val(f"{self.prefix}/{name}")
        self.nodes.append(ir.node(operator, inputs, attributes, outputs=[output], name=output.name))
        return output

    def top_k(
        self, name: str, values: ir.Value, count: ir.Value, *, axis: int, largest: bool
    ) -> tuple[ir.Value, ir.Value]:
        """Records a sorted TopK; returns values and indices. Ties go to the lower index."""
        outputs = [ir.val(f"{self.prefix}/{name}_values"), ir.val(f"{self.prefix}/{name}")]
        attributes = {"axis": axis, "largest": int(largest), "sorted": 1}
        self.nodes.append(ir.node("TopK", [values, count], attributes, outputs=outputs, name=outputs[1].name))
        return outputs[0], outputs[1]

    def float32(self, name: str, value: ir.Value) -> ir.Value:
        """The value as float32: itself, or the output of a Cast where its type is another or unknown."""
        if value.dtype == ir.DataType.FLOAT:
            return value
        cast = self.op(name, "Cast", [value], to=ir.DataType.FLOAT.value)
        cast.dtype, cast.shape = ir.DataType.FLOAT, value.shape
        return cast

    def constant(self, name: str, numbers: ArrayLike) -> ir.Value:
        """A new constant: int64 for Python ints, else of the numbers' own type."""
        full = f"{self.prefix}/{name}"
        self.constants.append(ir.val(full, const_value=ir.tensor(np.asarray(numbers), name=full)))
        return self.constants[-1]
