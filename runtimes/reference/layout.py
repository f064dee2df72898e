"""Which inputs and outputs of a matrix stand on crossbars, and how they are cut into K-slices and tiles."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Layout", "Mask", "lay_out", "split"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Layout:
    """The crossbars of one matrix.

    Attributes:
        rows: for each K-slice, the numbers of its analog inputs in the whole matrix, ascending.
        columns: the numbers of the analog outputs, ascending.
        tiles: for each column tile, where its outputs lie in ``columns``.
    """

    rows: tuple[NDArray[np.int64], ...]
    columns: NDArray[np.int64]
    tiles: tuple[slice, ...]


def split(rows: int, tile_rows: int) -> list[slice]:
    """Cut ``rows`` into the fewest K-slices of at most ``tile_rows``, sizes differing by at most 1."""
    count = -(-rows // tile_rows)
    base, extra = divmod(rows, count)
    starts = [index * base + min(index, extra) for index in range(count + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(starts)]


def lay_out(
    inputs: int,
    outputs: int,
    tile_rows: int,
    tile_columns: int,
    digital_inputs: Mask | None = None,
    digital_outputs: Mask | None = None,
) -> Layout:
    """Cut a matrix of ``inputs`` x ``outputs``, then take out what is digital.

    Args:
        inputs, outputs: K and N.
        tile_rows, tile_columns: the largest tile.
        digital_inputs, digital_outputs: ``[K]`` and ``[N]``; None: all are analog.
    """
    analog_inputs = np.ones(inputs, bool) if digital_inputs is None else ~digital_inputs
    analog_outputs = np.ones(outputs, bool) if digital_outputs is None else ~digital_outputs
    before = np.concatenate([[0], np.cumsum(analog_outputs)])
    return Layout(
        rows=tuple(part.start + np.flatnonzero(analog_inputs[part]) for part in split(inputs, tile_rows)),
        columns=np.flatnonzero(analog_outputs),
        tiles=tuple(
            slice(int(before[part.start]), int(before[part.stop])) for part in split(outputs, tile_columns)
        ),
    )
