"""What one analog product adds to the crossbar's output: noise and IR drop; and the random DAC.

All draws belong to the vector itself (its codes are hashed into the counter), never to its place in a batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError
from hetc.runtimes.reference.noise import Float32, normals
from hetc.runtimes.reference.philox import philox
from hetc.runtimes.reference.settings import Crossbar

__all__ = [
    "disturb",
    "hash_values",
    "open_share",
    "product_normals",
    "round_randomly",
    "squared_products",
]

PURPOSE_PRODUCT, PURPOSE_DAC = 2, 4
WIRE = 571428.57
"""Conductance of one segment of wire over g_max, as in aihwkit's ``ir_drop_g_ratio``."""

Float64 = NDArray[np.float64]
Numbers = NDArray[np.int64]


def hash_values(values: Float32, rows: Numbers) -> NDArray[np.uint64]:
    """``[M]``: hash of each vector of ``values [M, rows]``, whose elements are those rows of the matrix.

    The sum modulo 2**64 of SplitMix64's output function (Steele, Lea and Flood 2014) over
    2**32 * row + bits of the float32 value, with -0 as 0.
    """
    bits = (values + np.float32(0)).view(np.uint32).astype(np.uint64)
    z = bits + (rows.astype(np.uint64) << np.uint64(32))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    digest: NDArray[np.uint64] = (z ^ (z >> np.uint64(31))).sum(axis=1, dtype=np.uint64)
    return digest


def _words(
    values: Float32, rows: Numbers, positions: Numbers, purpose: int, key: tuple[int, int]
) -> tuple[Any, Any, Any, Any]:
    """Four random words ``[M, positions]`` that belong to the vectors ``values``."""
    digest = hash_values(values, rows)[:, None]
    low, high = digest & np.uint64(0xFFFFFFFF), digest >> np.uint64(32)
    return philox((low, high, positions[None, :], purpose), key)


def product_normals(q: Float32, rows: Numbers, columns: Numbers, crossbar: Crossbar, stream: int) -> Float32:
    """One standard normal ``[M, columns]`` for each of those outputs of the vectors ``q [M, rows]``.

    The four normals of one counter belong to columns 16 apart: a counter for every four columns, and a vector
    register of counters for a stretch of columns.
    """
    n = columns
    counters = 16 * (n // 64) + n % 16
    words = _words(q, rows, counters, PURPOSE_PRODUCT, (crossbar.read_seed, stream))
    four = np.stack([*normals(words[0], words[1]), *normals(words[2], words[3])])
    picked: Float32 = four[n % 64 // 16, :, np.arange(len(n))].T
    return picked


def squared_products(q: Float32, weights: Float32) -> Float64:
    """``[M, N]``: the sums of |w| q^2 of PCM read noise.

    Each |w| is rounded to 127 levels of the largest in its column of ``weights``, which leaves these sums
    within a few parts in a thousand: a standard deviation needs no more.
    """
    magnitudes = np.abs(weights)
    largest = magnitudes.max(axis=0)
    gain = np.float32(127) / np.where(largest > 0, largest, np.float32(1))
    codes = q.astype(np.float64)
    sums: Float64 = (codes**2 @ np.rint(magnitudes * gain).astype(np.float64)) * (largest / np.float32(127))
    return sums


def open_share(q: Float32, weights: Float32, alpha: Float32) -> Float64:
    """``[M, N]``: the share of PCM read noise that rounding leaves open.

    A |w| that lies next to the middle of two of the 127 levels, as closely as programmed weights agree, may
    come out as either.
    """
    magnitudes = np.abs(weights).astype(np.float64)
    largest = magnitudes.max(axis=0)
    live = np.where(largest > 0, largest, 1.0)
    levels = magnitudes * (127 / live)
    closeness = 2e-6 * 127 * np.maximum(1.0, alpha / live)
    undecided = np.abs(levels - np.floor(levels) - 0.5) < closeness
    sums = squared_products(q, weights)
    change = np.square(q.astype(np.float64)) @ undecided.astype(np.float64) * (largest / 127)
    share: Float64 = np.divide(change, 2 * sums, out=np.zeros_like(sums), where=sums > 0)
    return share


def round_randomly(v: Float32, rows: Numbers, crossbar: Crossbar, stream: int) -> Float32:
    """Round ``v [M, rows]`` up with the probability of its fraction, else down."""
    words = _words(np.rint(v), rows, rows, PURPOSE_DAC, (crossbar.read_seed, stream))
    chance = ((words[0] >> 8) * 2.0**-24).astype(np.float32)
    down = np.floor(v)
    rounded: Float32 = down + (v - down > chance).astype(np.float32)
    return rounded


def disturb(
    a: Float64,
    q: Float32,
    weights: Float32,
    alpha: Float32,
    numbers: tuple[Numbers, Numbers],
    levels: np.float32,
    crossbar: Crossbar,
    stream: int,
) -> Float64:
    """The crossbar's output ``a [M, N]`` with IR drop and the noise of one product.

    Args:
        a: ``q @ weights``.
        q: ``[M, rows]`` DAC codes.
        weights: ``[rows, N]`` as programmed.
        alpha: ``[N]`` or ``[1]`` weight scale; columns below 1e-30 are left as they are.
        numbers: of the rows and of the columns in the whole matrix.
        levels: L.
        crossbar, stream: the attributes and the matrix.

    Raises:
        InvalidInputError: for an unknown ``weight_noise_form``.
    """
    codes, w = q.astype(np.float64), weights.astype(np.float64)
    scale = np.broadcast_to(np.asarray(alpha, np.float64), a.shape[1:])
    unit = np.where(scale < 1e-30, 1.0, scale)
    delta = np.zeros_like(a)
    rows = len(w)
    if crossbar.ir_drop:
        current = rows / WIRE * (np.abs(codes) @ np.abs(w)) / (levels * unit)
        loss = current * (current * (0.05 * current - 0.2) + 0.5)
        ramp = 1 - (1 - np.arange(rows) / rows) ** 2
        delta -= crossbar.ir_drop * loss * ((codes * ramp) @ w)
    if crossbar.output_noise or crossbar.weight_noise:
        variance = np.square(crossbar.output_noise * levels * unit)
        if crossbar.weight_noise_form == "additive":
            spread = np.square(unit) * (codes**2).sum(axis=1, keepdims=True)
        elif crossbar.weight_noise_form == "pcm-read":
            spread = unit * squared_products(q, weights)
        else:
            raise InvalidInputError(
                f"weight_noise_form is {crossbar.weight_noise_form!r}; known are additive and pcm-read"
            )
        variance = variance + crossbar.weight_noise**2 * spread
        delta += np.sqrt(variance) * product_normals(q, *numbers, crossbar, stream)
    return a + np.where(scale < 1e-30, 0.0, delta)
