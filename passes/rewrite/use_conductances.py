"""Puts measured conductances in the place of programming.

    AnalogMatMul(x, w), noisy  ->  AnalogMatMul(x, w', .., weight_scale), noise_form none

w' is what the measured pairs stand for, float32; the scale is that of the clean weights, so that converters
never look at measured ones. Converters and what disturbs every product stay as they are. Digital neurons keep
their clean weights.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from hetc.base.errors import InvalidInputError
from hetc.hardware.noise_models import G_MAX
from hetc.model.measured_conductances import G_MAX_KEY, MeasuredConductances, MeasuredMatrix
from hetc.passes.analysis.analog_matrices import (
    AnalogMatrix,
    analog_matrices,
    analog_nodes,
    distinct_matrices,
    set_input,
)
from hetc.passes.analysis.conductance_targets import ConductanceTargets, CrossbarMapping, mapping_of
from hetc.passes.rewrite.add_analog_bodies import AddAnalogBodies
from hetc.passes.run_passes import run_passes
from hetc.plan.plan import Plan

__all__ = ["UseConductances"]

FIXED: dict[str, str | int | float] = {"noise_form": "none", "flicker_noise": 0.0, "drift_time": 0.0}
FIXED |= {"rank": 0, "group_size": 0}
"""Nothing is programmed, and no session's digital fraction finds clean weights to run in exact mode."""
SAME_SCALE = 1e-5
"""A scale that was written differs by no more from the model's own."""


class UseConductances(ir.passes.InPlacePass):
    """Replaces the weights of every analog matrix of a lowered model.

    Args:
        plan: The plan.
        measured: The conductances of all of its analog units.

    Raises:
        InvalidInputError: From `call`, for a matrix that is missing, of another shape or scale, or that holds
            what is no conductance.
    """

    def __init__(self, plan: Plan, measured: MeasuredConductances) -> None:
        super().__init__()
        self.plan, self.measured = plan, measured

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        projections = {one.stream: one.projection for unit in self.plan.units for one in unit.matrices}
        replaced = {
            matrix.stream: self._replace(model, matrix, projections[matrix.stream])
            for matrix in distinct_matrices(model.graph)
        }
        for node in analog_nodes(model.graph):
            matrices = list(analog_matrices(node))
            for matrix in matrices:
                for kind, value in replaced[matrix.stream].items():
                    set_input(node, matrix.input_name(kind), value)
            placed = any(matrix.input_rank or matrix.output_rank for matrix in matrices)
            neurons = {} if placed else {"digital_count": 0}
            for name, setting in (FIXED | neurons).items():
                node.attributes[name] = ir.convenience.convert_attribute(name, setting)
        run_passes(model, RemoveUnusedNodesPass(), AddAnalogBodies())
        return ir.passes.PassResult(model, modified=bool(replaced))

    def _replace(self, model: ir.Model, matrix: AnalogMatrix, projection: str) -> dict[str, ir.Value]:
        """The measured weight, checked now and computed again when it is written, and the clean scale."""
        mapping = mapping_of(model, matrix)
        inputs, outputs = matrix.shape
        name = f"{matrix.weight.name}.{matrix.stream}.measured"
        noise, unit = self.plan.profile.noise, matrix.unit

        def compute() -> ir.TensorProtocol:
            one = self.measured.read(unit, projection)
            g_max = one.g_max or G_MAX.get(noise.name)
            if g_max is None:
                raise InvalidInputError(
                    f"{one.where}: the file's metadata must say {G_MAX_KEY}, the conductance of a weight as "
                    f"large as its scale: that of noise model {noise.name!r} is not known"
                )
            weights = _measured_weights(mapping, one, g_max)
            stored = weights.T if mapping.transposed else weights
            return ir.tensor(np.ascontiguousarray(stored), name=name)

        compute()
        lazy = ir.LazyTensor(
            compute,
            dtype=ir.DataType.FLOAT,
            shape=ir.Shape((outputs, inputs) if mapping.transposed else (inputs, outputs)),
            name=name,
            cache=False,
        )
        return {
            "weight": _register(model.graph, lazy),
            "weight_scale": _register(model.graph, ir.tensor(mapping.scale, name=f"{name}.weight_scale")),
        }


def _measured_weights(
    mapping: CrossbarMapping, measured: MeasuredMatrix, g_max: float
) -> NDArray[np.float32]:
    """All weights `[inputs, outputs]`: what is analog as measured, what is digital as it was."""
    targets = mapping.targets(g_max)
    pair = measured.pair(targets.clean.shape)
    _check_mapping(targets, measured)
    weights = np.array(mapping.clean())
    weights[np.ix_(targets.rows, targets.columns)] = targets.weights(*pair)
    return weights


def _check_mapping(targets: ConductanceTargets, measured: MeasuredMatrix) -> None:
    """What else a file says of a matrix must be what was written for this plan."""
    for name, own in (("rows", targets.rows), ("columns", targets.columns), ("weight_scale", targets.scale)):
        if name not in measured.arrays:
            continue
        given = measured.require(name, own.shape)
        if not np.allclose(given, own, rtol=SAME_SCALE, atol=0):
            raise InvalidInputError(
                f"{measured.where}.{name} is not this plan's; the file was written for another model, tile "
                "or digital fraction"
            )


def _register(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.Value:
    value = ir.val(tensor.name or "", const_value=tensor)
    graph.register_initializer(value)
    return value
