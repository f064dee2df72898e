"""Writes what a device toolchain programs: target conductances and a tile map.

A weight w of a column slice with scale alpha has the target u = clamp(w / alpha, -1, 1), which a pair of
devices holds as (plus, minus) = (max(u, 0), max(-u, 0)), in units of the conductance window:

    g_plus = g_min + plus (g_max - g_min),   g_minus = g_min + minus (g_max - g_min)

These are the targets, before any programming noise (docs/operators.md, Programming). Only what stands on
crossbars is written: digital neurons leave their tiles, and what is left moves together.
"""

from __future__ import annotations

import csv
import itertools
import math
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
from hetc.model.weights import read_tensor
from hetc.passes.analysis.analog_matrices import AnalogMatrix, distinct_matrices, weight_scale
from hetc.runtimes.reference.layout import Layout

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

    For each matrix P of a unit, with K analog inputs in S K-slices and N analog outputs:

        P.g_plus, P.g_minus   [K, N]   float32, target conductances in uS
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
    tile = itertools.count()
    with (folder / TILE_MAP).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["unit", "projection", "rows", "columns", "tile"])
        for unit, matrices in _by_unit(model.graph).items():
            arrays: dict[str, NDArray[Any]] = {}
            for matrix in matrices:
                projection = projections[matrix.stream]
                target = _targets(model, matrix, g_max)
                arrays.update({f"{projection}.{name}": values for name, values in target.items()})
                for rows, columns in _tiles(matrix.layout):
                    table.writerow([unit, projection, rows, columns, next(tile)])
            metadata = {"unit": unit, "g_max_microsiemens": repr(g_max)}
            save_tensors(folder / f"{unit}.safetensors", arrays, metadata)


def _by_unit(graph: ir.Graph) -> dict[str, list[AnalogMatrix]]:
    """Each unit's matrices."""
    units: dict[str, list[AnalogMatrix]] = defaultdict(list)
    for matrix in distinct_matrices(graph):
        units[matrix.unit].append(matrix)
    return units


def _targets(model: ir.Model, matrix: AnalogMatrix, g_max: float) -> dict[str, NDArray[Any]]:
    attributes, layout = matrix.node.attributes, matrix.layout
    rows, columns = np.concatenate(layout.rows), layout.columns
    weight = read_tensor(model, matrix.weight.name or "").astype(np.float32)
    w = (weight.T if matrix.transposed else weight)[rows][:, columns]
    kept = [index for index, part in enumerate(layout.rows) if len(part)]
    scale = weight_scale(model, matrix)[kept][:, columns]
    alpha = np.repeat(scale, [len(layout.rows[index]) for index in kept], axis=0)
    u = np.where(alpha < TINY, 0, np.clip(w / np.maximum(alpha, TINY), -1, 1))
    offset = attributes["noise_offset"].as_float()
    window = np.float32(g_max / (1 + offset))
    g_min = np.float32(offset) * window
    arrays: dict[str, NDArray[Any]] = {
        "g_plus": g_min + np.maximum(u, 0) * window,
        "g_minus": g_min + np.maximum(-u, 0) * window,
        "weight_scale": scale,
        "rows": rows.astype(np.int32),
        "columns": columns.astype(np.int32),
    }
    if matrix.adc_bound is not None:
        given = read_tensor(model, matrix.adc_bound.name or "")
        arrays["adc_bound"] = np.broadcast_to(given, (len(given), matrix.shape[1]))[kept][:, columns]
    elif attributes["adc_bits"].as_int():
        arrays["adc_bound"] = np.float32(attributes["out_bound"].as_float()) * scale
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
