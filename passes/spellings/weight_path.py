"""Follows what a node reads back to the constant that it is a part of: where in its file a weight lies.

    Transpose(Squeeze(Split(W)[3]))  ->  W, and the nodes that make the view of it

The nodes on the way only choose and turn: they are applied to the file map itself, so that a weight is a view
(an offset and a length) wherever its numbers lie together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.external_tensors import tensor_values
from hetc.model.quantised_tensor import QuantisedTensor
from hetc.model.weights import FLOATS
from hetc.passes.analysis.weight_uses import swaps_two_axes
from hetc.passes.spellings.constants import constant_tensor
from hetc.passes.spellings.weight_steps import (
    apply_step,
    chooses_while_running,
    is_step,
    turns_chosen,
    widens,
)

__all__ = ["WeightPath", "address", "trace_constant", "trace_weight", "trace_whole"]


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
        """The constant itself; mapped, not read, where it lies in a file.

        Of one that is dequantised when it is read only the place: zeros, which take no memory until they are
        written to. `hetc.passes.spellings.initializers` reads the numbers.
        """
        if isinstance(self.tensor, QuantisedTensor) and len(self.tensor.shape) > 1:
            return np.zeros(self.tensor.shape.numpy(), self.tensor.dtype.numpy())
        return tensor_values(self.tensor)

    @property
    def is_weight(self) -> bool:
        """Whether the constant has numbers that no caller can replace, of a type that weights have."""
        tensor = constant_tensor(self.source)
        return tensor is not None and tensor.dtype in FLOATS

    @property
    def turned(self) -> bool | None:
        """Whether the whole constant arrives, transposed; None where a part or something else arrives."""
        turned = False
        for node, _ in self.steps:
            if node.op_type == "Transpose":
                turned ^= swaps_two_axes(node)
            elif not (node.op_type == "Identity" or widens(node)):
                return None
        return turned

    def split(self) -> tuple[tuple[tuple[ir.Node, int], ...], tuple[tuple[ir.Node, int], ...]]:
        """The steps before the dynamic choice, and those from it on."""
        for position, (node, _) in enumerate(self.steps):
            if chooses_while_running(node):
                return self.steps[:position], self.steps[position:]
        return self.steps, ()

    def view(self, expert: int = 0) -> NDArray[Any]:
        """What arrives, without a copy where numpy needs none; `expert` where the choice is dynamic.

        Raises:
            MismatchError: A node on the way that doesn't just choose and turn.
        """
        array, after = self._before_choice(), self.split()[1]
        if not after:
            return array
        chosen: NDArray[Any] = array[expert]
        return chosen.swapaxes(-1, -2) if self.turns % 2 else chosen

    def offset(self) -> int:
        """Bytes from the start of the constant to what arrives; for constant choices."""
        return address(self.view()) - address(self.whole)

    @property
    def turns(self) -> int:
        """How often the nodes after a dynamic choice transpose the matrices that were chosen.

        Raises:
            MismatchError: A node there changes them in another way.
        """
        return sum(turns_chosen(node) for node, _ in self.split()[1][1:])

    def count(self) -> int:
        """How many there are to choose from while the model runs; 1 if every choice is constant."""
        return 1 if self.index is None else len(self._before_choice())

    def _before_choice(self) -> NDArray[Any]:
        array = self.whole
        for node, output in self.split()[0]:
            array = apply_step(node, output, array)
        return array


def trace_constant(value: ir.Value | None) -> WeightPath | None:
    """The way to `value` of an initializer, also one that callers may feed, or a Constant; else None."""
    steps: list[tuple[ir.Node, int]] = []
    index = None
    while value is not None:
        if value.is_initializer() or constant_tensor(value) is not None:
            return WeightPath(value, tuple(reversed(steps)), index)
        node = value.producer()
        if node is None or not is_step(node):
            return None
        if chooses_while_running(node):
            if index is not None:
                return None
            index = node.inputs[1]
        steps.append((node, node.outputs.index(value)))
        value = node.inputs[0]
    return None


def trace_whole(value: ir.Value | None) -> WeightPath | None:
    """The way of a constant that arrives as a whole, at most turned or widened; None for anything else."""
    path = trace_constant(value)
    return path if path is not None and path.turned is not None else None


def trace_weight(value: ir.Value | None) -> WeightPath | None:
    """The way of a floating-point constant to `value`; None if it isn't one."""
    path = trace_constant(value)
    return path if path is not None and path.is_weight else None


def address(array: NDArray[Any]) -> int:
    """Where the first number of an array lies in memory."""
    return int(array.__array_interface__["data"][0])
