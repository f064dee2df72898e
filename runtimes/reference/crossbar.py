"""One matrix product on analog crossbars: K-slices, DAC, programmed weights, ADC."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetc.errors import InvalidInputError
from hetc.runtimes.reference.noise import Float32, add_noise, standard_normals, store

__all__ = ["Conversion", "Crossbar", "analog_matmul", "convert", "program", "split"]

TINY = np.float32(1e-30)


@dataclass(frozen=True)
class Crossbar:
    """What `docs/operators.md` keeps in attributes and session configuration, under the same names."""

    mode: str
    tile_rows: int = 512
    tile_columns: int = 512
    dac_bits: int = 8
    adc_bits: int = 8
    out_bound: float = 10.0
    noise_form: str = "none"
    noise_sigma: tuple[float, ...] = ()
    noise_scale: float = 1.0
    seed: int = 0
    store: str = "bfloat16"


@dataclass(frozen=True)
class Conversion:
    """What the ADC of one K-slice sees and what its codes are worth.

    Attributes:
        value: ``[M, N]`` float32, input of the ADC in units of its step, before rounding and clipping;
            without an ADC the output of the crossbar. NaN in rows with a non-finite input.
        step: ``[M, N]`` float32, what one step adds to y; 0 where the slice or column contributes nothing.
        limit: the largest code; infinite without an ADC.
        magnitude: ``[M, N]`` float32, the sum behind ``value`` with every product made positive: what its
            rounding error is relative to.
    """

    value: Float32
    step: Float32
    limit: float
    magnitude: Float32

    @property
    def code(self) -> Float32:
        """``[M, N]``: what the ADC puts out; the value itself without an ADC."""
        if np.isinf(self.limit):
            return self.value
        return np.clip(np.rint(self.value), -self.limit, self.limit)


def split(rows: int, tile_rows: int) -> list[slice]:
    """Cut ``rows`` into the fewest K-slices of at most ``tile_rows``, sizes differing by at most 1."""
    count = -(-rows // tile_rows)
    base, extra = divmod(rows, count)
    starts = [index * base + min(index, extra) for index in range(count + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(starts)]


def levels(bits: int) -> np.float32:
    """Largest code of a converter with 2**bits - 1 levels; 1 stands in where there is no converter."""
    return np.float32(2 ** (bits - 1) - 1 if bits else 1)


def program(
    w: NDArray[Any],
    crossbar: Crossbar,
    stream: int,
    *,
    transpose_weight: bool,
    weight_scale: Float32 | None = None,
) -> Float32:
    """Draw the weights that the crossbars hold after programming.

    Args:
        w: ``[N, K]`` if transpose_weight, else ``[K, N]``.
        crossbar: ``mode`` and converters are not looked at; noise form ``none`` or scale 0 returns w.
        stream: number of the matrix.
        transpose_weight: orientation of w.
        weight_scale: ``[S, N]`` or ``[S, 1]``, the weight that maps to g_max; the largest of the
            column slice if None.

    Returns:
        ``[K, N]`` float32, in units of w.

    Raises:
        InvalidInputError: if w holds NaN or infinity, or noise form or store is unknown.
    """
    clean = (w.T if transpose_weight else w).astype(np.float32)
    if not np.isfinite(clean).all():
        raise InvalidInputError(f"weights of stream {stream} hold NaN or infinity and can't be programmed")
    if crossbar.noise_form == "none" or crossbar.noise_scale == 0:
        return clean
    programmed = np.zeros_like(clean)
    columns = np.arange(clean.shape[1])
    for index, rows in enumerate(split(len(clean), crossbar.tile_rows)):
        alpha = _weight_scale(clean[rows], weight_scale, index)
        u = np.clip(_divide(clean[rows], alpha), np.float32(-1), np.float32(1))
        z0, z1 = standard_normals(np.arange(rows.start, rows.stop), columns, stream, crossbar.seed)
        g = add_noise(u, z0, z1, crossbar.noise_form, crossbar.noise_sigma, crossbar.noise_scale)
        programmed[rows] = np.where(alpha < TINY, np.float32(0), alpha * store(g, crossbar.store))
    return programmed


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
) -> list[Conversion]:
    """Convert x ``[M, K]`` slice by slice in mode converters or noisy; arguments as for `analog_matmul`."""
    x = x.astype(np.float32)
    clean = (w.T if transpose_weight else w).astype(np.float32)
    weights = clean
    if crossbar.mode == "noisy":
        weights = program(w, crossbar, stream, transpose_weight=transpose_weight, weight_scale=weight_scale)
    L, A = levels(crossbar.dac_bits), levels(crossbar.adc_bits)
    conversions = []
    for index, rows in enumerate(split(len(clean), crossbar.tile_rows)):
        finite = np.isfinite(x[:, rows]).all(axis=1, keepdims=True)
        part = np.where(finite, x[:, rows], np.float32(0))
        r = np.abs(part).max(axis=1, keepdims=True)
        if input_range is not None:
            r = np.full_like(r, input_range[index])
        q = np.clip(part, -r, r) * _divide(L, r)
        if crossbar.dac_bits:
            q = np.rint(q)
        # Sums in float64: they stand for every order in which an implementation may add.
        a = q.astype(np.float64) @ weights[rows].astype(np.float64)
        magnitude = np.abs(q).astype(np.float64) @ np.abs(weights[rows]).astype(np.float64)
        if crossbar.adc_bits:
            alpha = _weight_scale(clean[rows], weight_scale, index)
            b = np.float32(crossbar.out_bound) * alpha if adc_bound is None else adc_bound[index]
            gain, step = _divide(A, L * b), np.where(b < TINY, np.float32(0), r * (b / A))
        else:
            gain, step = np.ones(1, np.float32), r / L
        conversions.append(
            Conversion(
                value=np.where(finite, a.astype(np.float32) * gain, np.float32(np.nan)),
                step=np.broadcast_to(np.where(r < TINY, np.float32(0), step), a.shape),
                limit=float(A) if crossbar.adc_bits else np.inf,
                magnitude=magnitude.astype(np.float32) * gain,
            )
        )
    return conversions


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
        weight_scale: ``[S, N]`` or ``[S, 1]``; the largest of the column slice if None.

    Returns:
        ``[..., N]`` of x's type.

    Raises:
        InvalidInputError: for an unknown mode, noise form or store, or weights that can't be programmed.
    """
    if crossbar.mode not in ("exact", "converters", "noisy"):
        raise InvalidInputError(f"mode is {crossbar.mode!r}; known are exact, converters and noisy")
    rows = x.reshape(-1, x.shape[-1]) if x.size else np.zeros((0, x.shape[-1]), x.dtype)
    outputs = w.shape[0 if transpose_weight else 1]
    if crossbar.mode == "exact":
        clean = w.T if transpose_weight else w
        y = (rows.astype(np.float64) @ clean.astype(np.float64)).astype(np.float32)
    else:
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
        ):
            y = y + conversion.code * conversion.step
    return y.reshape(*x.shape[:-1], outputs).astype(x.dtype)


def _weight_scale(clean: Float32, given: Float32 | None, index: int) -> Float32:
    """``[N]`` or ``[1]``: the weight that maps to g_max in each column of slice ``index``."""
    return np.abs(clean).max(axis=0) if given is None else np.asarray(given[index], np.float32)


def _divide(numerator: Float32 | np.float32, denominator: Float32) -> Float32:
    """Quotient where the denominator is at least 1e-30, else 0: what lies there contributes nothing."""
    live = denominator >= TINY
    quotient: Float32 = np.where(live, numerator / np.where(live, denominator, np.float32(1)), np.float32(0))
    return quotient
