"""Writes what a device toolchain programs: target conductances (`conductance_targets`) and a tile map.

Or, for one seed, what programming left of them: files as a laboratory would measure them.
"""

from __future__ import annotations

import csv
import itertools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.base.errors import UsageError
from hetc.base.tensors import save_tensors
from hetc.bundle.bundle import Bundle
from hetc.bundle.programming import programmed_weight
from hetc.hardware.noise_models import largest_conductance
from hetc.model.measured_conductances import G_MAX_KEY
from hetc.model.weights import read_tensor
from hetc.passes.analysis.analog_matrices import AnalogMatrix, distinct_matrices
from hetc.passes.analysis.conductance_targets import mapping_of
from hetc.runtimes.reference.layout import Layout

__all__ = ["TILE_MAP", "write_conductances"]

TILE_MAP = "tiles.csv"


def write_conductances(
    model: ir.Model, bundle: Bundle, folder: Path, *, g_max: float | None = None, seed: int | None = None
) -> None:
    """Writes `UNIT.safetensors` for every analog unit, and `tiles.csv`.

    For each matrix P of a unit, with K analog inputs in S K-slices and N analog outputs:

        P.g_plus, P.g_minus   [K, N]   float32, target conductances in uS; with a seed float64
        P.weight_scale        [S, N]   float32, the weight that g_max stands for
        P.adc_bound           [S, N]   float32, full scale of the ADC over the input range
        P.input_range         [S]      float32, full scale of the DAC; absent where it follows each vector
        P.rows                [K]      int32, number of each row among all inputs of the matrix
        P.columns             [N]      int32, number of each column among all outputs of the matrix

    Rows and columns ascend. Without digital neurons they are 0, 1, 2, ...; slices and tiles are cut from the
    whole matrix, so that some may be smaller than others, and one of which nothing is left is not written.

    `tiles.csv` has one line per tile: unit, projection, its rows and columns in `g_plus` and `g_minus`
    (half-open, `0:512`), and the tile's number.

    Args:
        model: The bundle's model.
        bundle: The bundle.
        folder: The folder to make.
        g_max: Conductance in uS of a weight as large as its scale; None for that of the noise model.
        seed: Write what programming with this seed leaves, as drifted, instead of the targets. Only the
            difference of a pair is known of it, so that one of the two is at g_min.

    Raises:
        UsageError: A bundle that is baked or runs on measured conductances, a noise model without pairs of
            devices, no `g_max`, or a seed that is none.
    """
    noise = bundle.plan.profile.noise
    if bundle.weights_hold is not None:
        raise UsageError(
            f"bundle {bundle.path}: {bundle.weights_hold}, so that its weights are not targets; write the "
            "conductances of the bundle that it was made of"
        )
    if noise.form != "differential-pair":
        raise UsageError(f"noise model {noise.name!r} has no pairs of devices, so there are no conductances")
    g_max = largest_conductance(noise, g_max)
    folder.mkdir()
    projections = {matrix.stream: matrix.projection for unit in bundle.plan.units for matrix in unit.matrices}
    tile = itertools.count()
    with (folder / TILE_MAP).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["unit", "projection", "rows", "columns", "tile"])
        for unit, matrices in _by_unit(model.graph).items():
            arrays: dict[str, NDArray[Any]] = {}
            for matrix in matrices:
                projection = projections[matrix.stream]
                own = _arrays(model, matrix, bundle, g_max, seed)
                arrays.update({f"{projection}.{name}": values for name, values in own.items()})
                for rows, columns in _tiles(matrix.layout):
                    table.writerow([unit, projection, rows, columns, next(tile)])
            metadata = {"unit": unit, G_MAX_KEY: repr(g_max)}
            save_tensors(folder / f"{unit}.safetensors", arrays, metadata)


def _by_unit(graph: ir.Graph) -> dict[str, list[AnalogMatrix]]:
    """Each unit's matrices."""
    units: dict[str, list[AnalogMatrix]] = defaultdict(list)
    for matrix in distinct_matrices(graph):
        units[matrix.unit].append(matrix)
    return units


def _arrays(
    model: ir.Model, matrix: AnalogMatrix, bundle: Bundle, g_max: float, seed: int | None
) -> dict[str, NDArray[Any]]:
    targets = mapping_of(model, matrix).targets(g_max)
    kept, columns = targets.kept, targets.columns
    g_plus: NDArray[Any] = targets.g_plus
    g_minus: NDArray[Any] = targets.g_minus
    if seed is not None:
        config = {"hetc.seed": str(seed)}
        programmed = programmed_weight(matrix, bundle.path, config, compensated=False)
        by_inputs = programmed.T if matrix.transposed else programmed
        g_plus, g_minus = targets.pair_of(by_inputs[targets.rows][:, columns])
    arrays: dict[str, NDArray[Any]] = {
        "g_plus": g_plus,
        "g_minus": g_minus,
        "weight_scale": targets.scale,
        "rows": targets.rows.astype(np.int32),
        "columns": columns.astype(np.int32),
    }
    attributes = matrix.node.attributes
    if matrix.adc_bound is not None:
        given = read_tensor(model, matrix.adc_bound.name or "")
        arrays["adc_bound"] = np.broadcast_to(given, (len(given), matrix.shape[1]))[kept][:, columns]
    elif attributes["adc_bits"].as_int():
        arrays["adc_bound"] = np.float32(attributes["out_bound"].as_float()) * targets.scale
    if matrix.input_range is not None:
        arrays["input_range"] = read_tensor(model, matrix.input_range.name or "")[kept]
    return {name: np.ascontiguousarray(values) for name, values in arrays.items()}


def _tiles(layout: Layout) -> Iterator[tuple[str, str]]:
    """Rows and columns of every tile among the analog ones, rows first."""
    ends = np.cumsum([0, *map(len, layout.rows)])
    for columns in layout.tiles:
        for start, end in itertools.pairwise(ends):
            if start < end and columns.start < columns.stop:
                yield f"{start}:{end}", f"{columns.start}:{columns.stop}"
