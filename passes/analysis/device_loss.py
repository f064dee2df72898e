"""Score `device-loss`: what all errors of a profile's device cost the loss, by neuron and in total.

Half the Fisher information at each matrix's outputs times the mean squared error that programming, time,
converters and noise of products make there, in nats per token. Nothing is drawn or run: sensitivities that
`hetc score` recorded once serve every profile. Errors are taken for small and independent; correlations along
the residual stream are ignored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError, UsageError
from hetc.hardware.profile import Profile
from hetc.model.weights import read_matrix
from hetc.passes.analysis.matrix_loss import MatrixLoss, Ranges, matrix_loss
from hetc.passes.analysis.set_ranges import sites_of
from hetc.plan.calibration import parse_bound_rule
from hetc.plan.neurons import axis_of, per_line
from hetc.plan.plan import PlannedUnit
from hetc.plan.scores import Scores
from hetc.plan.sensitivity import Sensitivities
from hetc.plan.units import ALWAYS_DIGITAL, Matrix, Unit
from hetc.runtimes.reference.layout import split
from hetc.runtimes.reference.settings import crossbar_of

__all__ = ["device_losses", "predicted_loss"]

Mask = NDArray[np.bool_]
AnyUnit = Unit | PlannedUnit


def device_losses(
    model: ir.Model,
    units: Sequence[AnyUnit],
    scores: Scores,
    profile: Profile,
    digital: Mapping[str, Mask] | None = None,
    *,
    adc_bound_rule: str | None = None,
) -> dict[str, NDArray[np.float32]]:
    """What each neuron costs less in nats per token once it is digital, if the others stay where they are.

    An outlier that sets the scale of its columns, or the range of its vectors, is given what they would gain
    from a finer one. That can be less than 0 where a finer scale clips more.

    Args:
        model: The model that holds the weights.
        units: Units to score; planned ones with the static ranges and bounds that they have.
        scores: Measured, with sensitivities.
        profile: The hardware.
        digital: By unit id what is digital already: `[neurons]`, or `[1]` for a unit that doesn't divide.
        adc_bound_rule: The plan's, where units have ADC bounds.

    Returns:
        By unit id `[neurons]`, or `[1]` for units that don't divide; 0 for what is digital already. Routers
        and embeddings are left out.

    Raises:
        UsageError: Scores without sensitivities, or of another tile.
        InvalidInputError: Scores of another model.
    """
    recorded = _recorded(scores, profile)

    def of_unit(unit: AnyUnit) -> NDArray[np.float32]:
        gone = _gone(unit, digital)
        total = np.zeros(max(unit.neurons, 1))
        for matrix in unit.matrices if not gone.all() else ():
            inner = bool(unit.neurons) and axis_of(unit.kind, unit.matrices, matrix) == "inputs"
            found = _loss(model, unit, matrix, recorded, profile, gone, adc_bound_rule, of_inputs=inner)
            total += (found.inputs if inner else found.outputs).reshape(len(total), -1).sum(1)
        return np.where(gone, 0, total).astype(np.float32)

    analog = [unit for unit in units if unit.kind not in ALWAYS_DIGITAL]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip((unit.id for unit in analog), pool.map(of_unit, analog), strict=True))


def predicted_loss(
    model: ir.Model,
    units: Sequence[AnyUnit],
    scores: Scores,
    profile: Profile,
    digital: Mapping[str, Mask] | None = None,
    *,
    adc_bound_rule: str | None = None,
) -> float:
    """What a model loses in nats per token with everything on crossbars but what is given as digital.

    Arguments and errors as for `device_losses`. To second order in the errors: beyond a few tenths of a nat
    the model loses more than that.
    """
    recorded = _recorded(scores, profile)

    def of_unit(unit: AnyUnit) -> float:
        gone = _gone(unit, digital)
        if gone.all():
            return 0.0
        loss = partial(_loss, model, unit, recorded=recorded, profile=profile, gone=gone, rule=adc_bound_rule)
        return sum(float(loss(matrix).outputs.sum()) for matrix in unit.matrices)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(pool.map(of_unit, [unit for unit in units if unit.kind not in ALWAYS_DIGITAL]))


def _recorded(scores: Scores, profile: Profile) -> Sensitivities:
    if scores.sensitivities is None:
        raise UsageError(
            "score device-loss needs sensitivities, which these scores don't hold; run `hetc score` and pass "
            "--scores"
        )
    recorded = scores.sensitivities
    for key, one in recorded.matrices.items():
        inputs = len(one.rows)
        if split(inputs, recorded.tile_rows) != split(inputs, profile.tile_rows):
            raise UsageError(
                f"score device-loss: {key} was measured for tiles of {recorded.tile_rows} rows, profile "
                f"{profile.name!r} has {profile.tile_rows}; measure again with `hetc score --profile`"
            )
    return recorded


def _gone(unit: AnyUnit, digital: Mapping[str, Mask] | None) -> Mask:
    """`[neurons]`, or `[1]` of a unit that doesn't divide: what is digital already."""
    count = max(unit.neurons, 1)
    found = (digital or {}).get(unit.id)
    return np.zeros(count, bool) if found is None else np.broadcast_to(found, count)


def _loss(
    model: ir.Model,
    unit: AnyUnit,
    matrix: Matrix,
    recorded: Sensitivities,
    profile: Profile,
    gone: Mask,
    rule: str | None,
    *,
    of_inputs: bool = False,
) -> MatrixLoss:
    seen = recorded.of(unit.id, matrix.projection)
    if (len(seen.rows), len(seen.columns)) != (matrix.inputs, matrix.outputs):
        raise InvalidInputError(
            f"{matrix.projection} of {unit.id} is {matrix.inputs} -> {matrix.outputs}, to the scores "
            f"{len(seen.rows)} -> {len(seen.columns)}; they were measured on another model"
        )
    digital_lines: dict[str, Mask | None] = {"inputs": None, "outputs": None}
    if gone.any():
        axis = axis_of(unit.kind, unit.matrices, matrix)
        digital_lines[axis] = per_line(gone, getattr(matrix, axis))
    return matrix_loss(
        read_matrix(model, matrix),
        seen,
        recorded.out_bound,
        crossbar_of(profile, "noisy"),
        digital_inputs=digital_lines["inputs"],
        digital_outputs=digital_lines["outputs"],
        ranges=_ranges(unit, matrix, rule),
        of_inputs=of_inputs,
    )


def _ranges(unit: AnyUnit, matrix: Matrix, rule: str | None) -> Ranges:
    if not isinstance(unit, PlannedUnit) or not unit.input_ranges:
        return Ranges()
    site = matrix.weight
    if site not in sites_of(unit):
        site = "mid" if matrix.projection == "down_proj" else "in"
    by_norm = rule is not None and rule != "out_bound" and parse_bound_rule(rule)[0] == "std"
    return Ranges(unit.input_ranges[site], unit.adc_bounds.get(site), by_norm)
