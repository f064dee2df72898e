"""From clean to programmed conductances: random draws, the noise forms, and what the array's store keeps."""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hetc.errors import InvalidInputError
from hetc.runtimes.reference.philox import philox

__all__ = ["Float32", "add_noise", "normals", "program_pair", "sigma", "standard_normals", "store"]

Float32 = NDArray[np.float32]

PURPOSE_PROGRAMMING = 0


def normals(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> tuple[Float32, Float32]:
    """Two standard normals from two random words (Box and Muller 1958)."""
    u1 = ((first >> 8) + 1) * 2.0**-24
    u2 = (second >> 8) * 2.0**-24
    radius = np.sqrt(-2 * np.log(u1))
    angle = 2 * np.pi * u2
    return (radius * np.cos(angle)).astype(np.float32), (radius * np.sin(angle)).astype(np.float32)


def standard_normals(
    rows: NDArray[np.integer],
    columns: NDArray[np.integer],
    stream: int,
    seed: int,
    purpose: int = PURPOSE_PROGRAMMING,
) -> tuple[Float32, Float32, Float32, Float32]:
    """Draw the four standard normals that belong to each weight of a matrix.

    Args:
        rows: ``[K]`` row numbers in the whole matrix.
        columns: ``[N]`` column numbers.
        stream: number of the matrix, 0 .. 2**31 - 1.
        seed: programming seed, 0 .. 2**63 - 1.
        purpose: 0 for programming, 2 * read_seed + 1 for a reading.

    Returns:
        z0 and z1 of words 0 and 1, z2 and z3 of words 2 and 3, each ``[K, N]``.
    """
    counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]
    counter = (columns[None, :], rows[:, None], stream, purpose)
    words = philox(counter, (seed % 2**32, seed // 2**32))
    return (*normals(words[0], words[1]), *normals(words[2], words[3]))


def sigma(r: Float32, coefficients: Sequence[float], breaks: Sequence[float] = ()) -> Float32:
    """Standard deviation of a device's conductance, in units of g_max; negative values count as 0.

    Args:
        r: target conductance over g_max, any shape.
        coefficients: one polynomial in r, ascending powers, for each piece.
        breaks: values of r, ascending, at which the next piece takes over.
    """
    length = len(coefficients) // (len(breaks) + 1)
    total = np.zeros_like(r)
    for index, start in enumerate((-np.inf, *breaks)):
        value = np.zeros_like(r)
        for coefficient in reversed(coefficients[index * length : (index + 1) * length]):
            value = value * r + np.float32(coefficient)
        total = np.where(r >= np.float32(start), value, total)
    return np.maximum(total, np.float32(0))


def program_pair(
    u: Float32,
    z0: Float32,
    z1: Float32,
    coefficients: Sequence[float],
    scale: float,
    breaks: Sequence[float] = (),
    offset: float = 0.0,
) -> tuple[Float32, Float32]:
    """The two devices of a pair after programming, in units of g_max - g_min above g_min.

    Args:
        u: signed targets in [-1, 1].
        z0, z1: standard normals of the same shape.
        coefficients, breaks: see ``sigma``.
        scale: multiplies the noise.
        offset: g_min / (g_max - g_min); no conductance is below 0.
    """
    c, zero, lowest = np.float32(scale), np.float32(0), -np.float32(offset)
    plus, minus = np.maximum(u, zero), np.maximum(-u, zero)
    return (
        np.maximum(lowest, plus + c * sigma(plus, coefficients, breaks) * z0),
        np.maximum(lowest, minus + c * sigma(minus, coefficients, breaks) * z1),
    )


def add_noise(
    u: Float32,
    z0: Float32,
    z1: Float32,
    form: str,
    coefficients: Sequence[float],
    scale: float,
    breaks: Sequence[float] = (),
    offset: float = 0.0,
) -> Float32:
    """Conductances, in units of g_max, that programming the target ``u`` leaves in the array.

    Args:
        u: signed targets in [-1, 1].
        z0, z1: standard normals of the same shape.
        form: ``differential-pair`` (two devices, each cut off at 0) or ``gaussian``.
        coefficients, breaks: see ``sigma``.
        scale: multiplies the noise.
        offset: see ``program_pair``.

    Raises:
        InvalidInputError: for an unknown form.
    """
    if form == "differential-pair":
        g_plus, g_minus = program_pair(u, z0, z1, coefficients, scale, breaks, offset)
        return g_plus - g_minus
    if form == "gaussian":
        return u + np.float32(scale) * sigma(np.abs(u), coefficients, breaks) * z0
    raise InvalidInputError(f"noise_form is {form!r}; known are none, differential-pair and gaussian")


def store(g: Float32, kind: str) -> Float32:
    """What the programmed array keeps of the conductances of one K-slice.

    Args:
        g: ``[rows, N]``.
        kind: ``bfloat16``, ``float32`` or ``int8`` (127 levels to either side of 0 per column).

    Raises:
        InvalidInputError: for an unknown kind.
    """
    if kind == "float32":
        return g
    if kind == "bfloat16":
        return g.astype(ml_dtypes.bfloat16).astype(np.float32)
    if kind == "int8":
        largest = np.abs(g).max(axis=0)
        levels = np.float32(127)
        inverse = np.divide(levels, largest, out=np.zeros_like(largest), where=largest > 0)
        kept: Float32 = np.rint(g * inverse) * (largest / levels)
        return kept
    raise InvalidInputError(f"store is {kind!r}; known are bfloat16, float32 and int8")
