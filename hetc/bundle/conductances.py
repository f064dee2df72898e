"""Writes what a device toolchain programs: target conductances and a tile map.

A weight w of a column slice with scale alpha has the target u = clamp(w / alpha, -1, 1), which a pair of
devices holds as (plus, minus) = (max(u, 0), max(-u, 0)), in units of the conductance window:

    g_plus = g_min + plus (g_max - g_min),   g_minus = g_min + minus (g_max - g_min)

These are the targets, before any programming noise (docs/operators.md, Programming).
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.base.errors import UsageError
from hetc.base.tensors import save_tensors
from hetc.bundle.bundle import Bundle
from hetc.model.weights import read_tensor
from hetc.passes.analysis.analog_matrices import AnalogMatrix, distinct_matrices, weight_scale
from hetc.runtimes.reference.layout import split

__all__ = ["TILE_MAP", "write_conductances"]

TILE_MAP = "tiles.csv"
TINY = np.float32(1e-30)
G_MAX = {
    "pcm": 25.0,
    "hermes": 20.7,
    "hermes_single": 10.35,
    "reram_wan2022": 25.0,
    "reram_cmo": 88.2,
    "reram_cmo_fine": 88.2,
}
"""Microsiemens of the noise models that come with hetc (docs/analog-models.md)."""


def write_conductances(model: ir.Model, bundle: Bundle, folder: Path, *, g_max: float | None = None) -> None:
    """Writes `UNIT.safetensors` for every analog unit, and `tiles.csv`.

    For each matrix P of a unit with K inputs, N outputs and S K-slices, float32:

        P.g_plus, P.g_minus   [K, N]   target conductances in uS; row k of the matrix is the crossbar's row
        P.weight_scale        [S, N]   the weight that g_max stands for
        P.adc_bound           [S, N]   full scale of the ADC over the input range
        P.input_range         [S]      full scale of the DAC; absent where it follows each vector

    `tiles.csv` has one line per tile: unit, projection, rows and columns of the matrix (half-open, `0:512`),
    and the tile's number.

    Args:
        model: The bundle's model.
        bundle: The bundle.
        folder: The folder to make.
        g_max: Conductance in uS of a weight as large as its scale; None for that of the noise model.

    Raises:
        UsageError: A baked bundle, a noise model without pairs of devices, or no `g_max`.
    """
    noise = bundle.plan.profile.noise
    if bundle.baked is not None:
        raise UsageError(
            f"bundle {bundle.path} is baked: its weights are not targets; write the conductances of the "
            "bundle that it was made of"
        )
    if noise.form != "differential-pair":
        raise UsageError(f"noise model {noise.name!r} has no pairs of devices, so there are no conductances")
    g_max = G_MAX.get(noise.name) if g_max is None else g_max
    if g_max is None or not 0 < g_max < math.inf:
        raise UsageError(
            f"the largest conductance of noise model {noise.name!r} must be given, above 0 uS: --g-max"
        )
    folder.mkdir()
    projections = {matrix.stream: matrix.projection for unit in bundle.plan.units for matrix in unit.matrices}
    tile = count()
    with (folder / TILE_MAP).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["unit", "projection", "rows", "columns", "tile"])
        for unit, matrices in _by_unit(model.graph).items():
            arrays: dict[str, NDArray[np.float32]] = {}
            for matrix in matrices:
                projection = projections[matrix.stream]
                target = _targets(model, matrix, g_max)
                arrays.update({f"{projection}.{name}": values for name, values in target.items()})
                for rows, columns in _tiles(matrix, *target["g_plus"].shape):
                    table.writerow([unit, projection, rows, columns, next(tile)])
            metadata = {"unit": unit, "g_max_microsiemens": repr(g_max)}
            save_tensors(folder / f"{unit}.safetensors", arrays, metadata)


def _by_unit(graph: ir.Graph) -> dict[str, list[AnalogMatrix]]:
    """Each unit's matrices."""
    units: dict[str, list[AnalogMatrix]] = defaultdict(list)
    for matrix in distinct_matrices(graph):
        units[matrix.unit].append(matrix)
    return units


def _targets(model: ir.Model, matrix: AnalogMatrix, g_max: float) -> dict[str, NDArray[np.float32]]:
    attributes = matrix.node.attributes
    weight = read_tensor(model, matrix.weight.name or "").astype(np.float32)
    w = weight.T if matrix.transposed else weight
    scale = weight_scale(model, matrix)
    u = np.zeros_like(w)
    for rows, alpha in zip(split(len(w), attributes["tile_rows"].as_int()), scale, strict=True):
        u[rows] = np.where(alpha < TINY, 0, np.clip(w[rows] / np.maximum(alpha, TINY), -1, 1))
    offset = attributes["noise_offset"].as_float()
    window = np.float32(g_max / (1 + offset))
    g_min = np.float32(offset) * window
    arrays = {
        "g_plus": g_min + np.maximum(u, 0) * window,
        "g_minus": g_min + np.maximum(-u, 0) * window,
        "weight_scale": scale,
    }
    if matrix.adc_bound is not None:
        given = read_tensor(model, matrix.adc_bound.name or "")
        arrays["adc_bound"] = np.broadcast_to(given, scale.shape)
    elif attributes["adc_bits"].as_int():
        arrays["adc_bound"] = np.float32(attributes["out_bound"].as_float()) * scale
    if matrix.input_range is not None:
        arrays["input_range"] = read_tensor(model, matrix.input_range.name or "")
    return {name: np.ascontiguousarray(values) for name, values in arrays.items()}


def _tiles(matrix: AnalogMatrix, inputs: int, outputs: int) -> Iterator[tuple[str, str]]:
    """Rows and columns of every tile, rows first."""
    attributes = matrix.node.attributes
    for columns in split(outputs, attributes["tile_columns"].as_int()):
        for rows in split(inputs, attributes["tile_rows"].as_int()):
            yield f"{rows.start}:{rows.stop}", f"{columns.start}:{columns.stop}"
