"""Measures the noise of a bundle's crossbars as a device could: known vectors in, deviation out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hetc.model_file import load_model
from hetc.passes.analog_matrices import analog_matrices, analog_nodes
from hetc.progress import progress
from hetc.runtimes.onnxruntime.programming import programmed_weight
from hetc.weights import read_tensor

__all__ = ["PROBES", "measure_noise"]

PROBES = 64
"""Vectors per matrix, normal, the same for every measurement."""


def measure_noise(graph_file: Path, config: Mapping[str, str]) -> dict[str, float]:
    """Relative error of the products of programmed weights, by layer.

    sqrt(sum ||p W' - p W||^2 / sum ||p W||^2) over the layer's analog matrices W and probes p, where W' is
    what the kernel holds after programming and drift.

    Args:
        graph_file: The bundle's model without a guard.
        config: Session entries: `hetc.seed`, `hetc.noise_scale`, `hetc.drift_time`, `hetc.store`.

    Returns:
        By the layer's name, such as `layers.3`; `lm_head` stands for itself. Empty where nothing is analog.

    Raises:
        UsageError: A session entry that the library refuses.
        RuntimeMissingError: The library or ONNX Runtime is missing or too old.
    """
    model = load_model(graph_file).model
    errors: dict[str, list[tuple[float, float]]] = defaultdict(list)
    nodes = analog_nodes(model.graph)
    with progress("measuring noise", len(nodes)) as advance:
        for node in nodes:
            for matrix in analog_matrices(node):
                clean = read_tensor(model, matrix.weight.name or "").astype(np.float64)
                noisy = programmed_weight(matrix, graph_file.parent, config).astype(np.float64)
                if matrix.transposed:
                    clean, noisy = clean.T, noisy.T
                probes = np.random.default_rng(matrix.stream).standard_normal((PROBES, len(clean)))
                error, size = (float(np.square(probes @ w).sum()) for w in (noisy - clean, clean))
                unit = node.attributes["unit"].as_string()
                errors[".".join(unit.split(".")[:2])].append((error, size))
            advance(1)
    return {layer: float(np.sqrt(np.divide(*np.sum(sums, axis=0)))) for layer, sums in errors.items()}
