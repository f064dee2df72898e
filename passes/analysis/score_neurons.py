"""One number per neuron, higher = keep digital first, from the weights or from a file. Nothing is changed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError, UsageError
from hetc.hardware.profile import Profile
from hetc.model.weights import read_matrix
from hetc.passes.analysis.device_loss import device_losses
from hetc.plan.neurons import axis_of
from hetc.plan.scores import Scores
from hetc.plan.units import Matrix, Unit

__all__ = ["DEVICE_LOSS", "NEURON_SCORES", "score_neurons"]

Float64 = NDArray[np.float64]

OF_LINES: dict[str, Callable[[NDArray[np.float32]], Float64]] = {
    "maxnn": lambda lines: np.linalg.norm(lines, axis=1).astype(np.float64),
    "largest-weight": lambda lines: np.abs(lines).max(axis=1).astype(np.float64),
}
"""Scores from the weights alone: what of `[neurons, weights]` is multiplied over a unit's matrices."""

DEVICE_LOSS = "device-loss"
NEURON_SCORES = (*OF_LINES, "random", "expected-loss", DEVICE_LOSS)
"""The scores that know neurons; the last two need `hetc score`."""


def score_neurons(
    model: ir.Model,
    units: Sequence[Unit],
    name: str,
    *,
    scores: Scores | None = None,
    profile: Profile | None = None,
    digital: Mapping[str, NDArray[np.bool_]] | None = None,
    seed: int = 0,
) -> dict[str, Float64]:
    """The score `name` of every neuron of the units that divide into neurons: `[neurons]` by unit id.

    Args:
        model: The model that holds the weights.
        units: All units, from `find_units`.
        name: One of `NEURON_SCORES`, or of the neuron scores of `scores`.
        scores: Measured before.
        profile: The hardware, for `device-loss` alone.
        digital: What is digital already, by unit id (see `device_losses`); for `device-loss` alone.
        seed: Used by `random` alone.

    Raises:
        UsageError: A score that knows no neurons, or one that has to be measured and wasn't.
        InvalidInputError: A weight with NaN or infinity, or measured scores of another model.
    """
    divided = [unit for unit in units if unit.neurons]
    measured = scores.neurons if scores is not None else {}
    if name == DEVICE_LOSS and profile is not None:
        found = device_losses(model, divided, scores or Scores(), profile, digital)
    elif name in measured:
        found = _measured(divided, name, measured[name])
    elif name == "random":
        return {unit.id: _random(unit, seed) for unit in divided}
    elif name in OF_LINES:
        return {unit.id: _product(model, unit, OF_LINES[name]) for unit in divided}
    elif name in NEURON_SCORES:
        raise UsageError(f"score {name!r} has to be measured: run `hetc score` and pass --scores")
    else:
        known = ", ".join(dict.fromkeys([*NEURON_SCORES, *measured]))
        raise UsageError(f"score {name!r} knows no neurons; choose one of {known}, or --granularity expert")
    return {unit: one.astype(np.float64) for unit, one in found.items()}


def _measured(
    units: Sequence[Unit], name: str, values: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    for unit in units:
        size = len(values.get(unit.id, ()))
        if size != unit.neurons:
            raise InvalidInputError(
                f"score {name} knows {size} neurons of {unit.id}, which has {unit.neurons}; the scores were "
                "measured on another model"
            )
    return {unit.id: values[unit.id] for unit in units}


def _random(unit: Unit, seed: int) -> Float64:
    return np.random.default_rng([seed, zlib.crc32(unit.id.encode())]).random(unit.neurons)


def _product(model: ir.Model, unit: Unit, of_lines: Callable[[NDArray[np.float32]], Float64]) -> Float64:
    """Product over the unit's matrices of a number of each neuron's lines."""
    total = np.ones(unit.neurons)
    for matrix in unit.matrices:
        numbers = of_lines(_lines(model, unit, matrix))
        if not np.isfinite(numbers).all():
            raise InvalidInputError(
                f"weight {matrix.weight!r} holds NaN or infinity; it can be neither scored nor programmed"
            )
        total *= numbers
    return total


def _lines(model: ir.Model, unit: Unit, matrix: Matrix) -> NDArray[np.float32]:
    """`[neurons, weights]`: what belongs to each neuron of a matrix."""
    weight = read_matrix(model, matrix)
    rows = weight if axis_of(unit.kind, unit.matrices, matrix) == "outputs" else weight.T
    return rows.reshape(unit.neurons, -1)
