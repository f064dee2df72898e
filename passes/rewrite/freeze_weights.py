"""Graph inputs that only give units their weights -> initializers.

An initializer that is a graph input, too, is a default that each run may replace; exporters of IR version 3
list every weight so. A crossbar is programmed once, so that what a unit holds cannot be replaced.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import onnx_ir as ir

from hetc.plan.units import Unit

__all__ = ["FreezeWeights"]

logger = logging.getLogger(__name__)


class FreezeWeights(ir.passes.InPlacePass):
    """Takes the weights and biases of units off the graph's inputs; others stay.

    Args:
        units: The units, from `find_units`.
    """

    def __init__(self, units: Sequence[Unit]) -> None:
        super().__init__()
        self.units = units

    def requires(self, model: ir.Model) -> None:
        """Every weight of a unit is there, with numbers."""
        for unit in self.units:
            for matrix in unit.matrices:
                value = model.graph.initializers.get(matrix.weight)
                if value is None or value.const_value is None:
                    raise ir.passes.PreconditionError(
                        f"weight {matrix.weight!r} of unit {unit.id!r} has no value; it must be an "
                        "initializer, not a graph input"
                    )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        weights = {matrix.weight for unit in self.units for matrix in unit.matrices}
        nodes = {name for unit in self.units for name in unit.nodes}
        frozen = [
            value
            for value in model.graph.inputs
            if value.is_initializer()
            and (value.name in weights or any(node.name in nodes for node in value.consumers()))
        ]
        for value in frozen:
            model.graph.inputs.remove(value)
            logger.info("weight %s is no longer an input", value.name)
        return ir.passes.PassResult(model, modified=bool(frozen))
