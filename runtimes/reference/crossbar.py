"""One matrix product on analog crossbars: K-slices, DAC, programmed weights, ADC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError
from hetc.runtimes.reference.layout import Mask, lay_out
from hetc.runtimes.reference.noise import Float32
from hetc.runtimes.reference.programming import TINY, ProgrammedSlice, program_slices
from hetc.runtimes.reference.programming import weight_scale as largest_weights
from hetc.runtimes.reference.reading import disturb, open_share, round_randomly
from hetc.runtimes.reference.settings import Crossbar

__all__ = ["Conversion", "Crossbar", "analog_matmul", "convert"]


@dataclass(frozen=True)
class Conversion:
    """What the ADC of one K-slice sees and what its codes are worth.

    Attributes:
        value: ``[M, N]`` float32, input of the ADC in units of its step, before rounding and clipping;
            without an ADC the output of the crossbar. NaN in rows with a non-finite input.
        step: ``[M, N]`` float32, what one step adds to y; 0 where the slice or column contributes nothing.
        limit: the largest code; infinite without an ADC.
        magnitude: ``[M, N]`` float32, the sum behind ``value`` with every product made positive, and what
            programmed weights may differ by: 4 float32 roundings of it bound the error of ``value``.
        step_error: ``[M, N]`` float32, the share of ``step`` that programmed weights leave open through their
            drift compensation: a quotient of sums that noise may leave little of.
    """

    value: Float32
    step: Float32
    limit: float
    magnitude: Float32
    step_error: Float32

    @property
    def code(self) -> Float32:
        """``[M, N]``: what the ADC puts out; the value itself without an ADC."""
        if np.isinf(self.limit):
            return self.value
        return np.clip(np.rint(self.value), -self.limit, self.limit)


def levels(bits: int) -> np.float32:
    """Largest code of a converter with 2**bits - 1 levels; 1 stands in where there is no converter."""
    return np.float32(2 ** (bits - 1) - 1 if bits else 1)


def convert(
    x: NDArray[Any],
    w: NDArray[Any],
    crossbar: Crossbar,
    stream: int,
    *,
    transpose_weight: bool,
    input_range: Float32 | None = None,
    adc_bound: Float32 | None = None,
    weight_scale: Float32 | None = None,
    dac_stream: int | None = None,
    digital_inputs: Mask | None = None,
    digital_outputs: Mask | None = None,
) -> list[Conversion]:
    """Convert x ``[M, K]`` slice by slice in mode converters or noisy; arguments as for `analog_matmul`.

    The conversions are of the analog outputs, one for each slice with analog inputs.
    """
    x = x.astype(np.float32)
    clean = (w.T if transpose_weight else w).astype(np.float32)
    inputs, outputs = clean.shape
    tile = crossbar.tile_rows, crossbar.tile_columns
    layout = lay_out(inputs, outputs, *tile, digital_inputs, digital_outputs)
    columns = layout.columns
    slices = program_slices(clean, crossbar, stream, weight_scale, layout)
    L, A = levels(crossbar.dac_bits), levels(crossbar.adc_bits)
    conversions = []
    for index, rows in enumerate(layout.rows):
        if not len(rows):
            continue
        finite = np.isfinite(x[:, rows]).all(axis=1, keepdims=True)
        part = np.where(finite, x[:, rows], np.float32(0))
        r = np.abs(part).max(axis=1, keepdims=True)
        if input_range is not None:
            r = np.full_like(r, input_range[index])
        if weight_scale is None:
            alpha = largest_weights(clean[np.ix_(rows, columns)], crossbar, layout.tiles)
        else:
            alpha = _of_columns(weight_scale[index], columns)
        bound = None if adc_bound is None else _of_columns(adc_bound[index], columns)
        b = np.float32(crossbar.out_bound) * alpha if bound is None else bound
        gain = _divide(A, L * b) if crossbar.adc_bits else np.ones(1, np.float32)
        dac = stream if dac_stream is None else dac_stream
        crossbars = slices[index].weights, alpha, (rows, columns), crossbar, stream, dac
        value, magnitude = (sums * gain for sums in _sums(part, r, *crossbars))
        if crossbar.bound_management == "iterative" and crossbar.adc_bits:
            factor, most = 2.0, min(1000.0, float(L) / 4) if crossbar.dac_bits else 1000.0
            while factor <= most:
                clips = (np.abs(np.rint(value)) > A).any(axis=1)
                r = np.where(clips[:, None], r * np.float32(2), r)
                retried = _sums(part[clips], r[clips], *crossbars)
                value[clips], magnitude[clips] = (sums * gain for sums in retried)
                factor *= 2
        elif crossbar.bound_management not in ("none", "iterative"):
            raise InvalidInputError(
                f"bound_management is {crossbar.bound_management!r}; known are none and iterative"
            )
        step = np.where(b < TINY, np.float32(0), r * (b / A * slices[index].compensation))
        if not crossbar.adc_bits:
            step = r / L * slices[index].compensation
        conversions.append(
            Conversion(
                value=np.where(finite, value, np.float32(np.nan)),
                step=np.broadcast_to(np.where(r < TINY, np.float32(0), step), value.shape),
                limit=float(A) if crossbar.adc_bits else np.inf,
                magnitude=magnitude,
                step_error=np.broadcast_to(_compensation_error(slices[index], crossbar), value.shape),
            )
        )
    return conversions


def _compensation_error(programmed: ProgrammedSlice, crossbar: Crossbar) -> Float32:
    """``[N]``: relative error of a column's drift compensation whose weights err by 1e-6 of their scale."""
    if not crossbar.drifts or crossbar.drift_compensation != "column":
        return np.zeros(1, np.float32)
    total = np.abs(programmed.conductances).sum(axis=0)
    error_of_sums = np.float32(1e-6 * np.sqrt(len(programmed.conductances)))
    return _divide(error_of_sums * (1 + _divide(np.float32(1), np.abs(programmed.compensation))), total)


def _sums(
    x: Float32,
    r: Float32,
    weights: Float32,
    alpha: Float32,
    numbers: tuple[NDArray[np.int64], NDArray[np.int64]],
    crossbar: Crossbar,
    stream: int,
    dac_stream: int,
) -> tuple[Float32, Float32]:
    """What one slice's crossbar puts out for ``x [M, rows]`` with ranges ``r [M, 1]``, and its magnitude."""
    L = levels(crossbar.dac_bits)
    q = np.clip(x, -r, r) * _divide(L, r)
    noisy = crossbar.mode == "noisy"
    if crossbar.dac_bits and crossbar.dac_rounding == "stochastic" and noisy:
        q = round_randomly(q, numbers[0], crossbar, dac_stream)
    elif crossbar.dac_bits:
        q = np.rint(q)
    # Sums in float64: they stand for every order in which an implementation may add.
    a = q.astype(np.float64) @ weights.astype(np.float64)
    magnitude = np.abs(q).astype(np.float64) @ np.abs(weights).astype(np.float64)
    if noisy:
        # Programmed weights agree to 1e-6 of the weight scale or of the largest, 8 roundings of float32,
        # each by itself: noise may leave little of a weight, and then what it was made of counts.
        largest = np.maximum(np.abs(weights).max(0, initial=0), alpha)
        magnitude += 2 * np.linalg.norm(q, axis=1, keepdims=True) * largest
        quiet, a = a, disturb(a, q, weights, alpha, numbers, L, crossbar, stream)
        added = np.abs(a - quiet)
        magnitude += added
        if crossbar.weight_noise and crossbar.weight_noise_form == "pcm-read":
            magnitude += added * open_share(q, weights, alpha) / (4 * np.finfo(np.float32).eps)
    return a.astype(np.float32), magnitude.astype(np.float32)


def analog_matmul(
    x: NDArray[Any],
    w: NDArray[Any],
    crossbar: Crossbar,
    stream: int,
    *,
    transpose_weight: bool,
    input_range: Float32 | None = None,
    adc_bound: Float32 | None = None,
    weight_scale: Float32 | None = None,
    dac_stream: int | None = None,
    digital_inputs: Mask | None = None,
    digital_outputs: Mask | None = None,
) -> NDArray[Any]:
    """Operator `AnalogMatMul`: x w on crossbars, as `docs/operators.md` defines it.

    Args:
        x: ``[..., K]`` float32, float16 or bfloat16.
        w: ``[N, K]`` if transpose_weight, else ``[K, N]``; float32, float16 or bfloat16.
        crossbar: mode, geometry, converters, noise.
        stream: number of the matrix, for the random draws.
        transpose_weight: orientation of w.
        input_range: ``[S]``, range of the DAC per K-slice; the largest of the vector's slice if None.
        adc_bound: ``[S, N]`` or ``[S, 1]`` in units of the input range; out_bound * weight scale if None.
        weight_scale: ``[S, N]`` or ``[S, 1]``; see ``program``.
        dac_stream: stream of the matrix whose DAC this one shares; its own if None.
        digital_inputs, digital_outputs: ``[K]`` and ``[N]``, what is computed digitally; nothing if None.

    Returns:
        ``[..., N]`` of x's type.

    Raises:
        InvalidInputError: for an unknown mode, noise form or store, or weights that can't be programmed.
    """
    if crossbar.mode not in ("exact", "converters", "noisy"):
        raise InvalidInputError(f"mode is {crossbar.mode!r}; known are exact, converters and noisy")
    rows = x.reshape(-1, x.shape[-1]) if x.size else np.zeros((0, x.shape[-1]), x.dtype)
    outputs = w.shape[0 if transpose_weight else 1]
    clean = (w.T if transpose_weight else w).astype(np.float64)
    if crossbar.mode == "exact":
        y = (rows.astype(np.float64) @ clean).astype(np.float32)
    else:
        analog = np.ones(outputs, bool) if digital_outputs is None else ~digital_outputs
        y = np.zeros((len(rows), outputs), np.float32)
        for conversion in convert(
            rows,
            w,
            crossbar,
            stream,
            transpose_weight=transpose_weight,
            input_range=input_range,
            adc_bound=adc_bound,
            weight_scale=weight_scale,
            dac_stream=dac_stream,
            digital_inputs=digital_inputs,
            digital_outputs=digital_outputs,
        ):
            y[:, analog] += conversion.code * conversion.step
        wide = rows.astype(np.float64)
        y[:, ~analog] = wide @ clean[:, ~analog]
        if digital_inputs is not None:
            y[:, analog] += (wide[:, digital_inputs] @ clean[digital_inputs][:, analog]).astype(np.float32)
        y[~np.isfinite(wide).all(axis=1)] = np.nan
    return y.reshape(*x.shape[:-1], outputs).astype(x.dtype)


def _of_columns(values: Float32, columns: NDArray[np.int64]) -> Float32:
    """Those of ``[N]`` that belong to the columns; ``[1]`` belongs to all."""
    return values if len(values) == 1 else values[columns]


def _divide(numerator: Float32 | np.float32, denominator: Float32) -> Float32:
    """Quotient where the denominator is at least 1e-30, else 0: what lies there contributes nothing."""
    live = denominator >= TINY
    quotient: Float32 = np.where(live, numerator / np.where(live, denominator, np.float32(1)), np.float32(0))
    return quotient
