"""Gives the analog nodes of a lowered model the ADC bounds of its plan.

    AnalogMatMul(x, w, range)             ->  AnalogMatMul(x, w, range, bound)
    AnalogExpert(x, gate, up, down, ...)  ->  AnalogExpert(x, gate, up, down, ..., bound of each)

The plan has a number per K-slice; a column's bound is that times its weight scale or its norm, so that the
plan of a large model stays small.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from hetc.passes.analysis.analog_matrices import (
    analog_matrices,
    analog_nodes,
    column_norms,
    set_input,
    weight_scale,
)
from hetc.plan.calibration import parse_bound_rule
from hetc.plan.plan import Plan

__all__ = ["AddAdcBounds"]


class AddAdcBounds(ir.passes.InPlacePass):
    """Adds the input `adc_bound` of every matrix, a constant `[S, N]`, where the plan has a rule for it.

    Args:
        plan: The plan.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def requires(self, model: ir.Model) -> None:
        """Every analog node belongs to a unit of the plan."""
        for node in analog_nodes(model.graph):
            if node.attributes["unit"].as_string() not in self.plan.by_id:
                raise ir.passes.PreconditionError(f"node {node.name!r} belongs to no unit of the plan")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if self.plan.adc_bound_rule == "out_bound":
            return ir.passes.PassResult(model, modified=False)
        rule, _ = parse_bound_rule(self.plan.adc_bound_rule)
        measure = column_norms if rule == "std" else weight_scale
        nodes = analog_nodes(model.graph)
        for node in nodes:
            unit = self.plan.by_id[node.attributes["unit"].as_string()]
            for matrix in analog_matrices(node) if unit.adc_bounds else ():
                name = f"{matrix.weight.name}.adc_bound"
                if name not in model.graph.initializers:  # products that share a weight share it
                    factors = np.array(unit.adc_bounds[matrix.site], np.float32)
                    bounds = factors[:, None] * measure(model, matrix)
                    model.graph.register_initializer(ir.val(name, const_value=ir.tensor(bounds, name=name)))
                set_input(node, matrix.input_name("adc_bound"), model.graph.initializers[name])
        return ir.passes.PassResult(model, modified=bool(nodes))
