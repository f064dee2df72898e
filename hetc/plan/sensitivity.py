"""What errors of each matrix cost the model's loss, in small vectors that hold for any device.

Recorded once on text by `hetc score`. With x_t the K inputs and g_t the gradient of the text's negative log
likelihood at the N outputs (labels drawn by the model itself) of each token t that passes through the matrix,
and r_s(t) the largest |x| of K-slice s, all sums over tokens are divided by the tokens of the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError
from hetc.base.tensors import cut_floats

__all__ = ["CLIPS", "Sensitivities", "Sensitivity", "matrix_key"]

Float32 = NDArray[np.float32]

CLIPS = (0.5, 1.0, 2.0)
"""ADC bounds at which clipping is recorded, in units of the recording's bound."""


def matrix_key(unit: str, projection: str) -> str:
    """The name under which a matrix's sensitivity is kept: `layers.3.experts.17/gate_proj`."""
    return f"{unit}/{projection}"


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Sums over the tokens that pass one matrix; S K-slices, weights w_n of the output n.

    Attributes:
        rows: `[K]`, sum of x_k^2 |g|^2.
        columns: `[N]`, sum of g_n^2 |x|^2. Programmed weights cost rows x columns / total, times their error.
        fisher: `[N]`, sum of g_n^2.
        converted: `[K]`, sum of r_s^2 d_k^2, d the gradient at the inputs: what a DAC's steps cost.
        inputs: `[K]`, sum of x_k^2 d_k^2: what they can cost at most.
        peaks: `[K]`, share of the slice's sum of |g|^2 r_s^2 that goes if input k does.
        reach: `[S, N]`, sum of g_n^2 r_s^2: what an ADC's steps cost.
        signal: `[S, N]`, sum of g_n^2 (w_n x)^2 over the slice.
        clipped: `[3, S, N]`, sum of g_n^2 max(0, |w_n x| - b)^2, b the recording's ADC bound times `CLIPS`.
    """

    rows: Float32
    columns: Float32
    fisher: Float32
    converted: Float32
    inputs: Float32
    peaks: Float32
    reach: Float32
    signal: Float32
    clipped: Float32


@dataclass(frozen=True, eq=False)
class Sensitivities:
    """Those of a model's matrices.

    Attributes:
        tile_rows: Largest tile, which cuts K into slices.
        out_bound: The ADC bound of the recording, in units of r_s x the largest weight of each column slice.
        matrices: By `matrix_key`.
    """

    tile_rows: int
    out_bound: float
    matrices: dict[str, Sensitivity] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Sensitivities({len(self.matrices)} matrices)"

    def of(self, unit: str, projection: str) -> Sensitivity:
        """That of one matrix.

        Raises:
            InvalidInputError: It wasn't recorded.
        """
        found = self.matrices.get(matrix_key(unit, projection))
        if found is None:
            raise InvalidInputError(
                f"the scores know nothing of {projection} of {unit}; they were measured on another model"
            )
        return found

    def header(self) -> dict[str, Any]:
        """What a file says of them beside their arrays: for each matrix its key, K, N and S."""
        sizes = [[key, len(one.rows), len(one.columns), len(one.reach)] for key, one in self.matrices.items()]
        return {"tile_rows": self.tile_rows, "out_bound": self.out_bound, "matrices": sizes}

    def arrays(self) -> dict[str, Float32]:
        """All matrices' numbers, one array for each attribute."""
        none, parts = np.zeros(0, np.float32), self.matrices.values()
        return {
            f"sensitivity/{name}": np.concatenate([none, *(vars(one)[name].ravel() for one in parts)])
            for name in _NAMES
        }

    @classmethod
    def of_arrays(
        cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], where: str
    ) -> Sensitivities:
        """The inverse of `header` and `arrays`; `where` begins messages.

        Raises:
            InvalidInputError: An array is missing, or of another type or size, or not finite.
        """
        shapes = {key: _shapes(*sizes) for key, *sizes in header["matrices"]}
        found: dict[str, dict[str, Float32]] = {key: {} for key in shapes}
        for name in _NAMES:
            wanted = [shape[name] for shape in shapes.values()]
            for key, part in zip(
                found, cut_floats(arrays, f"sensitivity/{name}", wanted, where), strict=True
            ):
                found[key][name] = part
        matrices = {key: Sensitivity(**parts) for key, parts in found.items()}
        return cls(header["tile_rows"], header["out_bound"], matrices)


_NAMES = tuple(one.name for one in fields(Sensitivity))


def _shapes(inputs: int, outputs: int, slices: int) -> dict[str, tuple[int, ...]]:
    of_inputs = dict.fromkeys(("rows", "converted", "inputs", "peaks"), (inputs,))
    of_outputs = dict.fromkeys(("columns", "fisher"), (outputs,))
    of_slices = dict.fromkeys(("reach", "signal"), (slices, outputs))
    return {**of_inputs, **of_outputs, **of_slices, "clipped": (len(CLIPS), slices, outputs)}
