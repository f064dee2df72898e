"""From clean to programmed conductances: random draws, the noise forms, and what the array's store keeps."""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from hetc.errors import InvalidInputError
from hetc.runtimes.reference.philox import philox

__all__ = ["add_noise", "sigma", "standard_normals", "store"]

Float32 = NDArray[np.float32]

PURPOSE_PROGRAMMING = 0


def standard_normals(
    rows: NDArray[np.integer], columns: NDArray[np.integer], stream: int, seed: int
) -> tuple[Float32, Float32]:
    """Draw the two standard normals that belong to each weight of a matrix (Box and Muller 1958).

    Args:
        rows: ``[K]`` row numbers in the whole matrix.
        columns: ``[N]`` column numbers.
        stream: number of the matrix, 0 .. 2**31 - 1.
        seed: programming seed, 0 .. 2**63 - 1.

    Returns:
        z0 and z1, each ``[K, N]``.
    """
    counter = (columns[None, :], rows[:, None], stream, PURPOSE_PROGRAMMING)
    words = philox(counter, (seed % 2**32, seed // 2**32))
    u1 = ((words[0] >> 8) + 1) * 2.0**-24
    u2 = (words[1] >> 8) * 2.0**-24
    radius = np.sqrt(-2 * np.log(u1))
    angle = 2 * np.pi * u2
    return (radius * np.cos(angle)).astype(np.float32), (radius * np.sin(angle)).astype(np.float32)


def sigma(r: Float32, coefficients: Sequence[float]) -> Float32:
    """Standard deviation of a device's conductance, in units of g_max; negative values count as 0.

    Args:
        r: target conductance over g_max, any shape.
        coefficients: polynomial in r, ascending powers.
    """
    total = np.zeros_like(r)
    for coefficient in reversed(coefficients):
        total = total * r + np.float32(coefficient)
    return np.maximum(total, np.float32(0))


def add_noise(
    u: Float32, z0: Float32, z1: Float32, form: str, coefficients: Sequence[float], scale: float
) -> Float32:
    """Conductances, in units of g_max, that programming the target ``u`` leaves in the array.

    Args:
        u: signed targets in [-1, 1].
        z0, z1: standard normals of the same shape.
        form: ``differential-pair`` (two devices, each cut off at 0) or ``gaussian``.
        coefficients: see ``sigma``.
        scale: multiplies the noise.

    Raises:
        InvalidInputError: for an unknown form.
    """
    c, zero = np.float32(scale), np.float32(0)
    if form == "differential-pair":
        plus, minus = np.maximum(u, zero), np.maximum(-u, zero)
        g_plus: Float32 = np.maximum(zero, plus + c * sigma(plus, coefficients) * z0)
        g_minus: Float32 = np.maximum(zero, minus + c * sigma(minus, coefficients) * z1)
        return g_plus - g_minus
    if form == "gaussian":
        return u + c * sigma(np.abs(u), coefficients) * z0
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
