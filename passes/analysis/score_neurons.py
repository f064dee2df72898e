"""One number per neuron, higher = keep digital first, from the weights or from a file. Nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.base.errors import UsageError
from hetc.model.weights import read_tensor
from hetc.plan.neurons import axis_of
from hetc.plan.units import Matrix, Unit

__all__ = ["score_neurons"]

Float64 = NDArray[np.float64]


def score_neurons(model: ir.Model, units: Sequence[Unit], name: str, *, seed: int = 0) -> dict[str, Float64]:
    """The score `name` of every neuron of the units that divide into neurons: `[neurons]` by unit id."""
    if name == "maxnn":
        return {
            unit.id: _product(model, unit, lambda lines: np.linalg.norm(lines, axis=1))
            for unit in units
            if unit.neurons
        }
    raise UsageError(f"score {name!r} says nothing of single neurons")


def _product(
    model: ir.Model, unit: Unit, of_lines: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> Float64:
    """Product over the unit's matrices of a number of each neuron's lines."""
    total = np.ones(unit.neurons)
    for matrix in unit.matrices:
        total *= of_lines(_lines(model, unit, matrix))
    return total


def _lines(model: ir.Model, unit: Unit, matrix: Matrix) -> NDArray[np.float32]:
    """`[neurons, weights]`: what belongs to each neuron of a matrix."""
    weight = read_tensor(model, matrix.weight).astype(np.float32)
    along_outputs = axis_of(unit.kind, unit.matrices, matrix) == "outputs"
    rows = weight if matrix.transposed == along_outputs else weight.T
    return rows.reshape(unit.neurons, -1)
