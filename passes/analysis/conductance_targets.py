"""The conductances that a matrix is to be programmed to, and the weights that conductances stand for.

A weight w of a column slice with scale alpha has the target u = clamp(w / alpha, -1, 1), which a pair of
devices holds as (plus, minus) = (max(u, 0), max(-u, 0)), in units of the conductance window:

    g_plus = g_min + plus (g_max - g_min),   g_minus = g_min + minus (g_max - g_min)

Only what stands on crossbars counts: digital lines leave their tiles, and what is left moves together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.weights import read_tensor
from hetc.passes.analysis.analog_matrices import AnalogMatrix, weight_scale
from hetc.runtimes.reference.layout import Layout

__all__ = ["ConductanceTargets", "CrossbarMapping", "mapping_of"]

TINY = np.float32(1e-30)

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class ConductanceTargets:
    """Targets of a matrix with K analog inputs in S K-slices, those that have some, and N analog outputs.

    Attributes:
        clean: ``[K, N]`` the weights.
        g_plus, g_minus: ``[K, N]`` their targets, in uS.
        scale: ``[S, N]`` the weight that g_max stands for.
        rows, columns: ``[K]`` and ``[N]``, their numbers among all inputs and outputs.
        kept: which of all K-slices have an analog input.
        alpha: ``[K, N]`` the scale of each weight.
        g_min, window: g_min and g_max - g_min, in uS.
    """

    clean: Float32
    g_plus: Float32
    g_minus: Float32
    scale: Float32
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    kept: list[int]
    alpha: Float32
    g_min: np.float32
    window: np.float32

    def weights(self, g_plus: NDArray[Any], g_minus: NDArray[Any]) -> Float32:
        """``[K, N]``: the weights that devices stand for, whatever they were programmed to.

        A pair that is where it should be holds the clean weight itself, not what rounding leaves of it.
        """
        wide = self.alpha.astype(np.float64) / np.float64(self.window)
        held = (wide * (g_plus.astype(np.float64) - g_minus)).astype(np.float32)
        on_target = (g_plus == self.g_plus) & (g_minus == self.g_minus)
        return np.where(on_target, self.clean, held)

    def pair_of(self, weights: Float32) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The inverse: a pair for ``weights [K, N]`` of which one device is at g_min.

        In float64, so that `weights` gives them back to the last bit of float32.
        """
        live = self.alpha >= TINY
        unit = np.where(live, weights.astype(np.float64) / np.where(live, self.alpha, 1), 0)
        signed = unit * np.float64(self.window)
        return self.g_min + np.maximum(signed, 0), self.g_min + np.maximum(-signed, 0)


@dataclass(frozen=True)
class CrossbarMapping:
    """How a matrix stands on its crossbars; all but the weights, which stay in their file.

    Attributes:
        weight: The weights as stored, mapped.
        transposed: Whether they are stored `[outputs, inputs]`.
        layout: What of them stands on crossbars.
        scale: ``[S, N]`` over all K-slices and outputs, the weight that g_max stands for.
        offset: g_min / (g_max - g_min).
    """

    weight: NDArray[Any]
    transposed: bool
    layout: Layout
    scale: Float32
    offset: float

    def clean(self) -> Float32:
        """All weights, `[inputs, outputs]`."""
        weight = self.weight.astype(np.float32)
        return weight.T if self.transposed else weight

    def targets(self, g_max: float) -> ConductanceTargets:
        """The targets, where a weight as large as its scale has a conductance of ``g_max`` uS."""
        rows, columns = np.concatenate(self.layout.rows), self.layout.columns
        clean = self.clean()[rows][:, columns]
        kept = [index for index, part in enumerate(self.layout.rows) if len(part)]
        scale = self.scale[kept][:, columns]
        alpha = np.repeat(scale, [len(self.layout.rows[index]) for index in kept], axis=0)
        u = np.where(alpha < TINY, 0, np.clip(clean / np.maximum(alpha, TINY), -1, 1))
        window = np.float32(g_max / (1 + self.offset))
        g_min = np.float32(self.offset) * window
        return ConductanceTargets(
            clean=clean,
            g_plus=g_min + np.maximum(u, 0) * window,
            g_minus=g_min + np.maximum(-u, 0) * window,
            scale=scale,
            rows=rows,
            columns=columns,
            kept=kept,
            alpha=alpha,
            g_min=g_min,
            window=window,
        )


def mapping_of(model: ir.Model, matrix: AnalogMatrix) -> CrossbarMapping:
    """How a matrix of a lowered model stands on its crossbars; its node says tile, scale mode and g_min."""
    return CrossbarMapping(
        weight=read_tensor(model, matrix.weight.name or ""),
        transposed=matrix.transposed,
        layout=matrix.layout,
        scale=weight_scale(model, matrix),
        offset=matrix.node.attributes["noise_offset"].as_float(),
    )
