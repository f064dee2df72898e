"""From clean to programmed conductances: random draws, the noise forms, and what the array's store keeps.

Arrays are NumPy's or PyTorch's throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError
from hetc.runtimes.reference.arrays import cast, library
from hetc.runtimes.reference.philox import philox

__all__ = [
    "Float32",
    "add_noise",
    "normals",
    "program_pair",
    "random_words",
    "sigma",
    "standard_normals",
    "store",
]

Float32 = NDArray[np.float32]

PURPOSE_PROGRAMMING = 0


def normals(first: Any, second: Any) -> tuple[Any, Any]:
    """Two standard normals from two random words (Box and Muller 1958)."""
    xp = library(first)
    u1 = cast((first >> 8) + 1, "float64") * 2.0**-24
    u2 = cast(second >> 8, "float64") * 2.0**-24
    radius = xp.sqrt(-2 * xp.log(u1))
    angle = 2 * math.pi * u2
    return cast(radius * xp.cos(angle), "float32"), cast(radius * xp.sin(angle), "float32")


def standard_normals(
    rows: Any, columns: Any, stream: int, seed: int, purpose: int = PURPOSE_PROGRAMMING
) -> tuple[Any, Any, Any, Any]:
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
    words = random_words(rows, columns, stream, seed, purpose)
    return (*normals(*words[:2]), *normals(*words[2:]))


def random_words(
    rows: Any, columns: Any, stream: int, seed: int, purpose: int = PURPOSE_PROGRAMMING
) -> tuple[Any, Any, Any, Any]:
    """The four random words behind `standard_normals`, which has the same arguments; each ``[K, N]``."""
    counter = (columns[None, :], rows[:, None], stream, purpose)
    return philox(counter, (seed % 2**32, seed // 2**32))


def sigma(r: Any, coefficients: Sequence[float], breaks: Sequence[float] = ()) -> Any:
    """Standard deviation of a device's conductance, in units of g_max; negative values count as 0.

    Args:
        r: target conductance over g_max, any shape.
        coefficients: one polynomial in r, ascending powers, for each piece.
        breaks: values of r, ascending, at which the next piece takes over.
    """
    xp = library(r)
    length = len(coefficients) // (len(breaks) + 1)
    total = xp.zeros_like(r)
    for index, start in enumerate((-math.inf, *breaks)):
        value = xp.zeros_like(r)
        for coefficient in reversed(coefficients[index * length : (index + 1) * length]):
            value = value * r + coefficient
        total = xp.where(r >= start, value, total)
    return xp.clip(total, 0, None)


def program_pair(
    u: Any,
    z0: Any,
    z1: Any,
    coefficients: Sequence[float],
    scale: float,
    breaks: Sequence[float] = (),
    offset: float = 0.0,
) -> tuple[Any, Any]:
    """The two devices of a pair after programming, in units of g_max - g_min above g_min.

    Args:
        u: signed targets in [-1, 1].
        z0, z1: standard normals of the same shape.
        coefficients, breaks: see ``sigma``.
        scale: multiplies the noise.
        offset: g_min / (g_max - g_min); no conductance is below 0.
    """
    xp = library(u)
    plus, minus = xp.clip(u, 0, None), xp.clip(-u, 0, None)
    return (
        xp.clip(plus + scale * sigma(plus, coefficients, breaks) * z0, -offset, None),
        xp.clip(minus + scale * sigma(minus, coefficients, breaks) * z1, -offset, None),
    )


def add_noise(
    u: Any,
    z0: Any,
    z1: Any,
    form: str,
    coefficients: Sequence[float],
    scale: float,
    breaks: Sequence[float] = (),
    offset: float = 0.0,
) -> Any:
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
        return u + scale * sigma(abs(u), coefficients, breaks) * z0
    raise InvalidInputError(f"noise_form is {form!r}; known are none, differential-pair and gaussian")


def store(g: Any, kind: str) -> Any:
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
        return cast(cast(g, "bfloat16"), "float32")
    if kind == "int8":
        if not len(g):
            return g
        xp, largest = library(g), library(g).amax(abs(g), 0)
        inverse = xp.where(largest > 0, 127 / xp.where(largest > 0, largest, 1), 0)
        return xp.round(g * inverse) * (largest / 127)
    raise InvalidInputError(f"store is {kind!r}; known are bfloat16, float32 and int8")
