"""What the device that a matrix stands on costs the loss, from its weights and its recorded sensitivity.

An error e of the outputs costs half the Fisher information at the outputs times e^2, to second order. Errors
of different outputs, inputs and causes are taken for independent, and what an ADC sees between its clipping
points for normal. Left out: what static ranges clip at the DAC, and bound management.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hetc.passes.analysis.rounding import rounding_error
from hetc.plan.sensitivity import CLIPS, Sensitivity
from hetc.runtimes.reference.layout import Layout, Mask, lay_out, split
from hetc.runtimes.reference.moments import CELLS, Moments, moments
from hetc.runtimes.reference.reading import WIRE
from hetc.runtimes.reference.settings import Crossbar

__all__ = ["MatrixLoss", "Ranges", "matrix_loss"]

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

BLOCK = 1 << 17
"""Weights that are looked at together: as many as stay in a core's cache."""
LEAST = 1e-30


@dataclass(frozen=True)
class MatrixLoss:
    """Nats per token.

    Attributes:
        outputs: `[N]`, what the errors of each output cost; together all that the matrix costs.
        inputs: `[K]`, what the matrix costs less if one input is digital and no other; empty unless wanted.
    """

    outputs: Float64
    inputs: Float64


@dataclass(frozen=True)
class Ranges:
    """What a calibration fixes of one matrix.

    Attributes:
        inputs: `[S]`, ranges of the DACs; None where they follow each vector.
        bounds: `[S]`, ADC bounds over the input range in units of the weight scale; None for the profile's.
        by_norm: Whether the bounds' unit is each column's Euclidean norm.
    """

    inputs: tuple[float, ...] | None = None
    bounds: tuple[float, ...] | None = None
    by_norm: bool = False


def matrix_loss(
    weight: Float32,
    seen: Sensitivity,
    recorded_bound: float,
    crossbar: Crossbar,
    *,
    digital_inputs: Mask | None = None,
    digital_outputs: Mask | None = None,
    ranges: Ranges | None = None,
    of_inputs: bool = False,
) -> MatrixLoss:
    """What one matrix costs on its crossbars.

    Args:
        weight: `[N, K]`.
        seen: Its sensitivity.
        recorded_bound: The recording's `out_bound`.
        crossbar: The device, in mode `noisy`; seeds are not looked at.
        digital_inputs: `[K]`, what is digital already; None for nothing.
        digital_outputs: `[N]`, likewise.
        ranges: Ranges and bounds that don't follow each vector.
        of_inputs: Whether `inputs` is wanted.
    """
    outputs, inputs = weight.shape
    layout = lay_out(
        inputs, outputs, crossbar.tile_rows, crossbar.tile_columns, digital_inputs, digital_outputs
    )
    lost = MatrixLoss(np.zeros(outputs), np.zeros(inputs if of_inputs else 0))
    gone = np.zeros(inputs, bool) if digital_inputs is None else digital_inputs
    for index, (whole, rows) in enumerate(zip(split(inputs, crossbar.tile_rows), layout.rows, strict=True)):
        if len(rows) and len(layout.columns):
            part = _Slice(
                weight, seen, recorded_bound, crossbar, layout, ranges or Ranges(), index, whole, gone
            )
            lost.outputs[layout.columns] += part.of_outputs()
            if of_inputs:
                lost.inputs[rows] += part.of_inputs()
    return MatrixLoss(lost.outputs / 2, lost.inputs / 2)


class _Slice:
    """One K-slice: R analog inputs, N analog outputs."""

    def __init__(
        self,
        weight: Float32,
        seen: Sensitivity,
        recorded_bound: float,
        crossbar: Crossbar,
        layout: Layout,
        ranges: Ranges,
        index: int,
        whole: slice,
        gone: Mask,
    ) -> None:
        rows, columns = layout.rows[index], layout.columns
        self.crossbar, self.tiles, self.ranges, self.index = crossbar, layout.tiles, ranges, index
        all_rows = weight[:, whole] if len(columns) == len(weight) else weight[columns, whole]
        left = ~gone[whole]
        self.part = all_rows if left.all() else all_rows[:, left]
        self.rows = seen.rows[rows].astype(np.float64)
        self.columns = seen.columns[columns] / max(float(seen.columns.sum(dtype=np.float64)), LEAST)
        self.signal = seen.signal[index, columns].astype(np.float64)
        self.reach = seen.reach[index, columns].astype(np.float64)
        self.clipped = seen.clipped[:, index, columns].astype(np.float64)
        self.peaks = seen.peaks[rows].astype(np.float64)
        recorded = np.abs(all_rows).max(axis=1).astype(np.float64)
        if not left.all():
            squares = np.square(all_rows, dtype=np.float32)
            powers = squares @ seen.rows[whole]
            share = (squares[:, left] @ seen.rows[rows]) / np.maximum(powers, LEAST)
            self.signal *= share
            fall = max(1 - float(seen.peaks[whole][~left].sum(dtype=np.float64)), 0.01)
            self.reach *= fall
            # Relative to the range that is left, the signal is another one than when it was recorded.
            self.shift = np.sqrt(fall / np.maximum(share, LEAST))
            self.clipped *= share
        else:
            self.shift = np.ones(len(columns))
        converted, small = seen.converted[rows].astype(np.float64), seen.inputs[rows].astype(np.float64)
        if ranges.inputs is not None:
            fixed = ranges.inputs[index] ** 2 * seen.fisher[columns].astype(np.float64)
            self.shift *= np.sqrt(fixed / np.maximum(self.reach, LEAST))
            converted *= fixed.sum() / max(float(self.reach.sum()), LEAST)
            self.reach = fixed
            self.peaks[:] = 0
        self.recorded = np.maximum(recorded, LEAST) * recorded_bound
        self.scale = self._scale(np.abs(self.part).max(axis=1).astype(np.float64))
        self.table = self._table()
        every = seen.reach[index].astype(np.float64) @ np.square(weight[:, whole]).sum(1, dtype=np.float64)
        self.dac_outputs = seen.reach[index, columns] * np.square(self.part).sum(1, dtype=np.float64)
        self.dac = self._dac(converted, small) * (self.dac_outputs.sum() / max(every, LEAST))

    def of_outputs(self) -> Float64:
        """`[N]`: all that the slice adds to the errors of each output."""
        programming, self.weight_inputs = self._weights(self.scale)
        dac = self.dac.sum() * self.dac_outputs / max(float(self.dac_outputs.sum()), LEAST)
        found: Float64 = programming + self._adc(self.scale) + dac + self._product()
        return found

    def of_inputs(self) -> Float64:
        """`[R]`: what the slice costs less without an input."""
        steps = float(self._adc_steps(self.scale).sum())
        found: Float64 = self.weight_inputs + self.dac + self.peaks * steps
        magnitudes = np.abs(self.part)
        if self.crossbar.adc_bits:
            # Sums are smaller without an input: of what is clipped, more than its share of the signal goes.
            clipping = self._clipping(self.scale)
            self.shift *= 1.01
            slope = np.log(np.maximum(self._clipping(self.scale), LEAST) / np.maximum(clipping, LEAST))
            self.shift /= 1.01
            slope /= np.log(1.01)
            squares = np.square(magnitudes)
            power = np.maximum(squares @ self.rows, LEAST)
            found += self.rows * ((clipping * (1 - slope / 2) / power) @ squares)
            found += self.peaks * float(clipping @ slope) / 2
        if self.crossbar.scale_mode == "column":
            lines = np.arange(len(magnitudes))
            holders = magnitudes.argmax(axis=1)
            magnitudes[lines, holders] = 0
            second = magnitudes.max(axis=1).astype(np.float64)
            now = self._programming(self.scale, np.abs(self.part))[0] + self._adc(self.scale)
            own = self.table[Moments.cells(np.float64(1.0), np.float64(1.0))]
            now -= self.scale**2 * own * self.rows[holders] * self.columns
            then = self._programming(second, magnitudes)[0] + self._adc(second)
            then -= second**2 * self.table[0] * self.rows[holders] * self.columns
            found += np.bincount(holders, now - then, len(found))
        return found

    def _scale(self, largest: Float64) -> Float64:
        if self.crossbar.scale_mode == "tile":
            for tile in self.tiles:
                if tile.stop > tile.start:
                    largest[tile] = largest[tile].max()
        return largest

    def _table(self) -> Float32:
        """Mean squared errors by target; a drift's compensation counts with one factor for the slice."""
        found = moments(self.crossbar)
        factor = 1.0
        if self.crossbar.drifts and self.crossbar.drift_compensation != "none":
            live = np.maximum(self.scale, LEAST).astype(np.float32)[:, None]
            cells = np.bincount(Moments.cells(self.part, live).ravel(), minlength=CELLS + 1)
            factor = float(cells @ found.before) / max(float(cells @ found.now), LEAST)
        return found.square(factor)

    def _weights(self, scale: Float64) -> tuple[Float64, Float64]:
        """`[N]` and `[R]`: what programmed weights cost, and noise of products that weights make."""
        outputs, inputs = self._programming(scale, np.abs(self.part))
        noise = self.crossbar.weight_noise**2
        if noise and self.crossbar.weight_noise_form == "additive":
            outputs = outputs + noise * scale**2 * self.columns * self.rows.sum()
            inputs = inputs + noise * self.rows * float(scale**2 @ self.columns)
        elif noise:
            magnitudes = np.abs(self.part)
            outputs = outputs + noise * scale * self.columns * (magnitudes @ self.rows)
            inputs = inputs + noise * self.rows * ((scale * self.columns) @ magnitudes)
        return outputs, inputs

    def _programming(self, scale: Float64, magnitudes: Float32) -> tuple[Float64, Float64]:
        outputs, inputs = np.zeros(len(scale)), np.zeros(len(self.rows))
        if not self.crossbar.programs:
            return outputs, inputs
        rows = self.rows.astype(np.float32)
        weights = (scale**2 * self.columns).astype(np.float32)
        live = np.maximum(scale, LEAST).astype(np.float32)[:, None]
        step = max(1, BLOCK // len(rows))
        for start in range(0, len(scale), step):
            block = slice(start, start + step)
            errors = self.table.take(Moments.cells(magnitudes[block], live[block]), mode="clip")
            outputs[block] = errors @ rows
            inputs += weights[block] @ errors
        return outputs * scale**2 * self.columns, inputs * self.rows

    def _bound(self, scale: Float64) -> Float64:
        """`[N]`: the ADC's, in units of the input range."""
        if self.ranges.bounds is None:
            return self.crossbar.out_bound * scale
        unit = np.linalg.norm(self.part, axis=1).astype(np.float64) if self.ranges.by_norm else scale
        return self.ranges.bounds[self.index] * unit

    def _adc(self, scale: Float64) -> Float64:
        """`[N]`: what rounding and clipping cost, at most the signal."""
        if not self.crossbar.adc_bits:
            return np.zeros(len(scale))
        found: Float64 = np.minimum(self._adc_steps(scale) + self._clipping(scale), self.signal)
        return found

    def _adc_steps(self, scale: Float64) -> Float64:
        if not self.crossbar.adc_bits:
            return np.zeros(len(scale))
        step = self._bound(scale) / float(2 ** (self.crossbar.adc_bits - 1) - 1)
        power: Float64 = np.square(step) * self.reach
        return power * rounding_error(np.sqrt(self.signal / np.maximum(power, LEAST)))

    def _clipping(self, scale: Float64) -> Float64:
        """Between the bounds that were recorded, and beyond them, its logarithm is a line in the bound's."""
        places = np.log(np.maximum(self._bound(scale) / self.recorded * self.shift, LEAST))
        known, values = np.log(CLIPS), np.log(self.clipped + LEAST)
        slopes = np.diff(values, axis=0) / np.diff(known)[:, None]
        piece = np.clip(np.searchsorted(known, places) - 1, 0, len(slopes) - 1)
        lines = np.arange(len(places))
        line = values[piece, lines] + slopes[piece, lines] * (places - known[piece])
        found: Float64 = np.exp(np.minimum(line, np.log(np.maximum(self.signal, LEAST))))
        return np.where(self.clipped[0] > 0, found, 0.0)

    def _dac(self, converted: Float64, small: Float64) -> Float64:
        """`[R]`: what the DAC's steps cost at each input, all outputs analog."""
        if not self.crossbar.dac_bits:
            return np.zeros(len(converted))
        power: Float64 = converted / float(2 ** (self.crossbar.dac_bits - 1) - 1) ** 2
        if self.crossbar.dac_rounding == "stochastic":
            return power / 6
        return power * rounding_error(np.sqrt(small / np.maximum(power, LEAST)))

    def _product(self) -> Float64:
        """`[N]`: output noise, and roughly what is lost along the columns' wires."""
        found: Float64 = np.square(self.crossbar.output_noise * self.scale) * self.reach
        if self.crossbar.ir_drop:
            # |x| / range and |w| / scale as if they were spread evenly around their mean squares.
            mean = self.rows.mean() * self.columns
            inputs = np.sqrt(mean / np.maximum(self.reach, LEAST))
            magnitudes = np.abs(self.part).mean(axis=1) / np.maximum(self.scale, LEAST)
            current = len(self.rows) ** 2 / WIRE * 0.8 * inputs * magnitudes
            loss = current * (current * (0.05 * current - 0.2) + 0.5)
            found = found + np.square(self.crossbar.ir_drop * loss * 2 / 3) * self.signal
        return found
