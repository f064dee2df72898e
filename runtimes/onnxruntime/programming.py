"""Reads the weights that the kernel's crossbars hold after programming.

Unit vectors through `AnalogMatMul` in mode `noisy`, without converters, give them row by row: each slice that
the unit vector leaves out has range 0 and contributes nothing, and the product with 1 is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.operators.schemas import ATTRIBUTES, DOMAIN, VERSION
from hetc.passes.analog_matrices import AnalogMatrix
from hetc.runtimes.onnxruntime.session import FOLDER_KEY, open_session

__all__ = ["programmed_weight"]

ROWS = 512
"""Unit vectors per run: they and the product stay small beside a large matrix."""
IDEAL: dict[str, str | int | float] = {
    "mode": "noisy",
    "dac_bits": 0,
    "adc_bits": 0,
    "output_noise": 0.0,
    "weight_noise": 0.0,
    "ir_drop": 0.0,
    "dac_rounding": "nearest",
    "bound_management": "none",
}


def programmed_weight(
    matrix: AnalogMatrix,
    folder: Path,
    config: Mapping[str, str],
    *,
    compensated: bool = True,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """The programmed matrix, in the shape and orientation of the clean one.

    Args:
        matrix: From `hetc.passes.analog_matrices`; its node says noise, seed and tile.
        folder: Where the model lies that the weight's file is named relative to.
        config: Session entries that beat the node: `hetc.seed`, `hetc.noise_scale`, `hetc.drift_time`,
            `hetc.store`.
        compensated: Multiplied by the factors of the drift compensation, where the node has one.
        threads: Threads of the session; None leaves it to ONNX Runtime.

    Raises:
        UsageError: A session entry that the library refuses.
        RuntimeMissingError: The library or ONNX Runtime is missing or too old.
    """
    tensor = matrix.weight.const_value
    assert tensor is not None
    shape = tensor.shape.numpy()
    inputs = shape[1] if matrix.transposed else shape[0]
    session = open_session(
        ir.to_proto(_model(matrix, inputs, compensated=compensated)).SerializeToString(),
        {**config, FOLDER_KEY: str(folder.absolute())},
        threads=threads,
    )
    programmed = np.empty(shape, np.float32)
    by_inputs = programmed.T if matrix.transposed else programmed
    for start in range(0, inputs, ROWS):
        count = min(ROWS, inputs - start)
        by_inputs[start : start + count] = session.run(None, {"x": np.eye(count, inputs, start, np.float32)})[
            0
        ]
    return programmed


def _model(matrix: AnalogMatrix, rows: int, *, compensated: bool) -> ir.Model:
    attributes = {
        name: attribute
        for name, attribute in matrix.node.attributes.items()
        if name in ATTRIBUTES["AnalogMatMul"]
    }
    changed = {**IDEAL, "stream": matrix.stream}
    if not compensated:
        changed["drift_compensation"] = "none"
    for name, setting in changed.items():
        attributes[name] = ir.convenience.convert_attribute(name, setting)
    x = ir.val("x", ir.DataType.FLOAT, ["vectors", rows])
    weight = ir.val("w", const_value=matrix.weight.const_value)
    constants, scale = [weight], None
    if matrix.weight_scale is not None:
        scale = ir.val("weight_scale", const_value=matrix.weight_scale.const_value)
        constants.append(scale)
    inputs = [x, weight, None, None, scale]
    node = ir.Node(DOMAIN, "AnalogMatMul", inputs, attributes.values(), name="program")
    (y,) = node.outputs
    y.name, y.type, y.shape = "y", ir.TensorType(ir.DataType.FLOAT), ir.Shape(["vectors", "outputs"])
    graph = ir.Graph(
        [x],
        [y],
        nodes=[node],
        initializers=constants,
        opset_imports={"": 18, DOMAIN: VERSION},
        name="program",
    )
    return ir.Model(graph, ir_version=10)
