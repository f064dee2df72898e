"""Builds models of crossbars as they were programmed: no converters, no noise of a product."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from hetc.operators.schemas import ATTRIBUTES, DOMAIN, VERSION
from hetc.passes.analysis.analog_matrices import AnalogMatrix
from hetc.passes.canonical.named_tape import NamedTape

__all__ = ["BareCrossbars"]

BARE: dict[str, str | int | float] = {
    "dac_bits": 0,
    "adc_bits": 0,
    "output_noise": 0.0,
    "weight_noise": 0.0,
    "ir_drop": 0.0,
    "dac_rounding": "nearest",
    "bound_management": "none",
}


class BareCrossbars(NamedTape):
    """Records products with matrices of a lowered model, which share its weights' files."""

    def __init__(self) -> None:
        super().__init__("bare")
        self._weights: dict[str, ir.Value] = {}

    def product(
        self, name: str, x: ir.Value, matrix: AnalogMatrix, *, mode: str = "noisy", compensated: bool = True
    ) -> ir.Value:
        """Records x times a matrix.

        Args:
            name: Of the node.
            x: `[rows, K]` float32.
            matrix: From `hetc.passes.analysis.analog_matrices`; its node says noise, seed and tile, and which
                inputs and outputs are digital: these multiply by the clean weights.
            mode: `noisy`, or `exact` for the clean weights. Session entries other than `hetc.mode` beat it.
            compensated: Multiply by the factors of the drift compensation, where the node has one.

        Returns:
            `[rows, N]` float32.
        """
        changed = {**BARE, "mode": mode, "stream": matrix.stream}
        if not compensated:
            changed["drift_compensation"] = "none"
        attributes = {
            key: attribute
            for key, attribute in matrix.node.attributes.items()
            if key in ATTRIBUTES["AnalogMatMul"]
        }
        attributes |= {key: ir.convenience.convert_attribute(key, value) for key, value in changed.items()}
        given = (matrix.weight_scale, matrix.input_rank, matrix.output_rank)
        optional = [None if value is None else self._weight(value) for value in given]
        inputs = [x, self._weight(matrix.weight), None, None, *optional]
        y = ir.val(f"{self.prefix}/{name}", ir.DataType.FLOAT)
        self.nodes.append(
            ir.Node(DOMAIN, "AnalogMatMul", inputs, attributes.values(), outputs=[y], name=y.name)
        )
        return y

    def model(self, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> ir.Model:
        """All that was recorded, as a model."""
        graph = ir.Graph(
            inputs,
            outputs,
            nodes=self.nodes,
            initializers=[*self._weights.values(), *self.constants],
            opset_imports={"": 18, DOMAIN: VERSION},
            name=self.prefix,
        )
        return ir.Model(graph, ir_version=10)

    def _weight(self, value: ir.Value) -> ir.Value:
        name = value.name or ""
        return self._weights.setdefault(name, ir.val(name, const_value=value.const_value))
