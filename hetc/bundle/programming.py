"""Reads the weights that the kernel's crossbars hold after programming.

Unit vectors through `AnalogMatMul` in mode `noisy`, without converters, give them row by row: each slice that
the unit vector leaves out has range 0 and contributes nothing, and the product with 1 is exact. What is
digital reads as the clean weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.bundle.bare_crossbars import BareCrossbars
from hetc.passes.analysis.analog_matrices import AnalogMatrix
from hetc.runtimes.onnxruntime.session import open_graph

__all__ = ["programmed_weight"]

ROWS = 512
"""Unit vectors per run: they and the product stay small beside a large matrix."""


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
        matrix: From `hetc.passes.analysis.analog_matrices`; its node says noise, seed and tile.
        folder: Where the model lies that the weight's file is named relative to.
        config: Session entries that beat the node: `hetc.seed`, `hetc.noise_scale`, `hetc.drift_time`,
            `hetc.store`.
        compensated: Multiplied by the factors of the drift compensation, where the node has one.
        threads: Threads of the session; None leaves it to ONNX Runtime.

    Raises:
        UsageError: A session entry that the library refuses.
        RuntimeMissingError: The library or ONNX Runtime is missing or too old.
    """
    inputs, outputs = matrix.shape
    x = ir.val("x", ir.DataType.FLOAT, ["vectors", inputs])
    crossbars = BareCrossbars()
    y = crossbars.product("y", x, matrix, compensated=compensated)
    session = open_graph(crossbars.model([x], [y]), folder, config, threads=threads)
    programmed = np.empty((outputs, inputs) if matrix.transposed else (inputs, outputs), np.float32)
    by_inputs = programmed.T if matrix.transposed else programmed
    for start in range(0, inputs, ROWS):
        count = min(ROWS, inputs - start)
        (rows,) = session.run(None, {"x": np.eye(count, inputs, start, np.float32)})
        by_inputs[start : start + count] = rows
    return programmed
