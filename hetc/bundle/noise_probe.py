"""Measures the noise of a bundle's crossbars as a device could: known vectors in, deviation out.

One model computes p W' and p W for every analog matrix W, whose weights stay mapped from the bundle's files:

    square of the error:  ReduceSumSquare(AnalogMatMul[noisy](p, W) - AnalogMatMul[exact](p, W))
    square of the size:   ReduceSumSquare(AnalogMatMul[exact](p, W))
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.bundle.bare_crossbars import BareCrossbars
from hetc.model.load import load_model
from hetc.passes.analysis.analog_matrices import AnalogMatrix, distinct_matrices
from hetc.runtimes.onnxruntime.session import open_graph

__all__ = ["PROBES", "PROGRAMMING", "NoiseProbe", "mean_noise"]

PROBES = 64
"""Vectors per matrix, normal, the same for every measurement."""

PROGRAMMING = ("hetc.seed", "hetc.noise_scale", "hetc.drift_time", "hetc.store", "hetc.digital_frac")
"""Session entries that what is programmed depends on; the fraction where single neurons are placed."""


class NoiseProbe:
    """A session that sends probe vectors through crossbars.

    While it lives it holds what it programmed, so that other sessions of the same noise need not.

    Args:
        graph_file: The bundle's model without a guard.
        config: Session entries, of `PROGRAMMING`.
        units: Ids of the units to look at, as far as they are analog; None for all.
        threads: Threads of the session; None leaves it to ONNX Runtime.

    Raises:
        UsageError: A session entry that the library refuses.
        RuntimeMissingError: The library or ONNX Runtime is missing or too old.
    """

    def __init__(
        self,
        graph_file: Path,
        config: Mapping[str, str],
        units: Collection[str] | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        model = load_model(graph_file).model
        matrices = [
            matrix for matrix in distinct_matrices(model.graph) if units is None or matrix.unit in units
        ]
        self._layers = [".".join(matrix.unit.split(".")[:2]) for matrix in matrices]
        self._probes = {
            f"probes_{inputs}": np.random.default_rng(0).standard_normal((PROBES, inputs), np.float32)
            for inputs in {matrix.shape[0] for matrix in matrices}
        }
        if matrices:
            self._session = open_graph(_model(matrices), graph_file.parent, config, threads=threads)

    def measure(self) -> dict[str, float]:
        """Relative error of the products of programmed weights, by layer.

        sqrt(sum ||p W' - p W||^2 / sum ||p W||^2) over the layer's analog matrices W and probes p, where W'
        is what the kernel holds after programming and drift; what is digital of a matrix has no error.

        Returns:
            By the layer's name, such as `layers.3`; `lm_head` stands for itself. Empty where nothing is
            analog.
        """
        sums: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(2))
        if self._layers:
            errors, sizes = self._session.run(None, self._probes)
            for layer, *squares in zip(self._layers, errors[:, 0], sizes[:, 0], strict=True):
                sums[layer] += squares
        return {layer: float(np.sqrt(error / size)) for layer, (error, size) in sums.items()}


def mean_noise(by_layer: Mapping[str, float]) -> float:
    """What `NoiseProbe.measure` found, as one number: the mean over layers."""
    return float(np.mean(list(by_layer.values()))) if by_layer else 0.0


def _model(matrices: list[AnalogMatrix]) -> ir.Model:
    crossbars = BareCrossbars()
    probes: dict[int, ir.Value] = {}
    errors, sizes = [], []
    for number, matrix in enumerate(matrices):
        inputs, _ = matrix.shape
        x = probes.setdefault(inputs, ir.val(f"probes_{inputs}", ir.DataType.FLOAT, [PROBES, inputs]))
        noisy, exact = (
            crossbars.product(f"{mode}_{number}", x, matrix, mode=mode) for mode in ("noisy", "exact")
        )
        difference = crossbars.op(f"difference_{number}", "Sub", [noisy, exact])
        errors.append(crossbars.op(f"error_{number}", "ReduceSumSquare", [difference]))
        sizes.append(crossbars.op(f"size_{number}", "ReduceSumSquare", [exact]))
    outputs = [
        crossbars.op(name, "Concat", squares, axis=0)
        for name, squares in (("errors", errors), ("sizes", sizes))
    ]
    for output in outputs:
        output.type = ir.TensorType(ir.DataType.FLOAT)
    return crossbars.model(list(probes.values()), outputs)
