"""What one analog product adds to the crossbar's output: noise and IR drop; and the random DAC.

All draws belong to the vector itself (its codes are hashed into the counter), never to its place in a batch.
Arrays are NumPy's or PyTorch's, but where a type says NumPy's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError
from hetc.runtimes.reference.arrays import cast, library
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
LOW_WORD = 0xFFFFFFFF
WIRE = 571428.57
"""Conductance of one segment of wire over g_max, as in aihwkit's ``ir_drop_g_ratio``."""

Float64 = NDArray[np.float64]
Numbers = NDArray[np.int64]


def hash_values(values: Float32, rows: Numbers) -> NDArray[np.uint64]:
    """``[M]``: hash of each vector of ``values [M, rows]``, whose elements are those rows of the matrix.

    The sum modulo 2**64 of SplitMix64's output function (Steele, Lea and Flood 2014) over
    2**32 * row + bits of the float32 value, with -0 as 0.
    """
    digest: NDArray[np.uint64] = _digest(values, rows).view(np.uint64)
    return digest


def _digest(values: Any, rows: Any) -> Any:
    """`hash_values` in signed integers, which PyTorch has: they wrap around as unsigned ones do."""
    bits = cast((values + 0).view(library(values).int32), "int64") & LOW_WORD
    z = bits + (cast(rows, "int64") << 32)
    z = (z ^ _shifted(z, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    z = (z ^ _shifted(z, 27)) * (0x94D049BB133111EB - 2**64)
    return (z ^ _shifted(z, 31)).sum(1)


def _shifted(z: Any, bits: int) -> Any:
    """z >> bits with zeros from the left, not the sign."""
    return (z >> bits) & (2 ** (64 - bits) - 1)


def _words(
    values: Any, rows: Any, positions: Any, purpose: int, key: tuple[int, int]
) -> tuple[Any, Any, Any, Any]:
    """Four random words ``[M, positions]`` that belong to the vectors ``values``."""
    digest = _digest(values, rows)[:, None]
    low, high = digest & LOW_WORD, (digest >> 32) & LOW_WORD
    return philox((low, high, positions[None, :], purpose), key)


def product_normals(q: Any, rows: Any, columns: Any, crossbar: Crossbar, stream: int) -> Any:
    """One standard normal ``[M, columns]`` for each of those outputs of the vectors ``q [M, rows]``.

    The four normals of one counter belong to columns 16 apart: a counter for every four columns, and a vector
    register of counters for a stretch of columns.
    """
    n = columns
    counters = 16 * (n // 64) + n % 16
    words = _words(q, rows, counters, PURPOSE_PRODUCT, (crossbar.read_seed, stream))
    xp = library(q)
    four = xp.stack([*normals(words[0], words[1]), *normals(words[2], words[3])])
    return four[n % 64 // 16, :, xp.arange(len(n), device=n.device)].T


def squared_products(q: Any, weights: Any) -> Any:
    """``[M, N]``: the sums of |w| q^2 of PCM read noise.

    Each |w| is rounded to 127 levels of the largest in its column of ``weights``, which leaves these sums
    within a few parts in a thousand: a standard deviation needs no more.
    """
    xp, magnitudes = library(q), abs(weights)
    largest = xp.amax(magnitudes, 0)
    gain = 127 / xp.where(largest > 0, largest, 1)
    return (cast(q, "float64") ** 2 @ cast(xp.round(magnitudes * gain), "float64")) * (largest / 127)


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


def round_randomly(v: Any, rows: Any, crossbar: Crossbar, stream: int) -> Any:
    """Round ``v [M, rows]`` up with the probability of its fraction, else down."""
    xp = library(v)
    words = _words(xp.round(v), rows, rows, PURPOSE_DAC, (crossbar.read_seed, stream))
    chance = cast(words[0] >> 8, "float32") * 2.0**-24
    down = xp.floor(v)
    return down + (v - down > chance)


def disturb(
    a: Any,
    q: Any,
    weights: Any,
    alpha: Any,
    numbers: tuple[Any, Any],
    levels: Any,
    crossbar: Crossbar,
    stream: int,
) -> Any:
    """The crossbar's output ``a [M, N]`` with IR drop and the noise of one product.

    Args:
        a: ``q @ weights`` in float64.
        q: ``[M, rows]`` DAC codes.
        weights: ``[rows, N]`` as programmed.
        alpha: ``[N]`` or ``[1]`` weight scale; columns below 1e-30 are left as they are.
        numbers: of the rows and of the columns in the whole matrix.
        levels: L.
        crossbar, stream: the attributes and the matrix.

    Raises:
        InvalidInputError: for an unknown ``weight_noise_form``.
    """
    xp = library(a)
    codes, w, scale = (cast(one, "float64") for one in (q, weights, alpha))
    unit = xp.where(scale < 1e-30, 1.0, scale)
    delta = xp.zeros_like(a)
    rows = len(w)
    if crossbar.ir_drop:
        current = rows / WIRE * (abs(codes) @ abs(w)) / (levels * unit)
        loss = current * (current * (0.05 * current - 0.2) + 0.5)
        ramp = 1 - (1 - xp.arange(rows, dtype=xp.float64, device=a.device) / rows) ** 2
        delta -= crossbar.ir_drop * loss * ((codes * ramp) @ w)
    if crossbar.output_noise or crossbar.weight_noise:
        variance = (crossbar.output_noise * levels * unit) ** 2
        if crossbar.weight_noise_form == "additive":
            spread = unit**2 * (codes**2).sum(1)[:, None]
        elif crossbar.weight_noise_form == "pcm-read":
            spread = unit * squared_products(q, weights)
        else:
            raise InvalidInputError(
                f"weight_noise_form is {crossbar.weight_noise_form!r}; known are additive and pcm-read"
            )
        variance = variance + crossbar.weight_noise**2 * spread
        delta += xp.sqrt(variance) * product_normals(q, *numbers, crossbar, stream)
    return a + xp.where(scale < 1e-30, 0.0, delta)
