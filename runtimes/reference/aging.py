"""What time does to a programmed pair: drift of the conductances, 1/f noise of a reading, compensation.

Arrays are NumPy's or PyTorch's throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hetc.base.errors import InvalidInputError
from hetc.runtimes.reference.arrays import cast, library
from hetc.runtimes.reference.settings import Crossbar

__all__ = ["add_flicker", "compensation", "curve", "drift", "factors"]

PIECE = 10
SMALLEST = 1e-7


def curve(r: Any, pieces: Sequence[float]) -> Any:
    """A curve of the device model at r, as `docs/operators.md` defines it."""
    xp = library(r)
    r = xp.clip(r, SMALLEST, None)
    total = xp.zeros_like(r)
    for index in range(0, len(pieces), PIECE):
        start, low, high, logarithm, power, exponent, *cubic = pieces[index : index + PIECE]
        value = xp.zeros_like(r)
        for coefficient in reversed(cubic):
            value = value * r + coefficient
        value = value + logarithm * xp.log(r) + power * r**exponent
        total = xp.where((r >= start) | (index == 0), xp.clip(value, low, high), total)
    return total


def drift(g: Any, target: Any, z: Any, crossbar: Crossbar) -> Any:
    """A device `drift_time` after it was programmed to `g` with the target `target`."""
    mean, deviation = curve(target, crossbar.drift_mean), curve(target, crossbar.drift_deviation)
    nu = abs(mean + deviation * z)
    t0, offset = crossbar.drift_reference, crossbar.noise_offset
    return (g + offset) * library(g).exp(-nu * math.log((crossbar.drift_time + t0) / t0)) - offset


def add_flicker(g: Any, programmed: Any, z: Any, crossbar: Crossbar) -> Any:
    """A device as one reading of the array finds it; never below 0 conductance."""
    read = crossbar.flicker_read_time
    elapsed = crossbar.drift_time + crossbar.drift_reference
    spread = crossbar.flicker_noise * math.sqrt(max(0.0, math.log((elapsed + read) / (2 * read))))
    relative = curve(programmed, crossbar.flicker_deviation) * spread
    offset = crossbar.noise_offset
    return library(g).clip(g + (g + offset) * relative * z, -offset, None)


def compensation(programmed: Any, now: Any, crossbar: Crossbar, columns: Sequence[slice]) -> Any:
    """``[N]``: the digital factor that undoes the mean drift of one K-slice.

    Args:
        programmed, now: ``[rows, N]`` conductances at programming and now.
        crossbar: ``drift_compensation`` is ``none``, ``global`` (one factor a tile) or ``column``.
        columns: the columns of each tile.

    Raises:
        InvalidInputError: for an unknown kind.
    """
    before, after = (abs(cast(g, "float64")).sum(0) for g in (programmed, now))
    return factors(before, after, crossbar, columns)


def factors(before: Any, after: Any, crossbar: Crossbar, columns: Sequence[slice]) -> Any:
    """``[..., N]`` float32: `compensation` of columns whose conductances' magnitudes add up to these sums."""
    before, after = cast(before, "float64"), cast(after, "float64")
    xp = library(after)
    if crossbar.drift_compensation == "global":
        for tile in columns:
            before[..., tile] = before[..., tile].sum(-1)[..., None]
            after[..., tile] = after[..., tile].sum(-1)[..., None]
    elif crossbar.drift_compensation == "none":
        return cast(xp.ones_like(before), "float32")
    elif crossbar.drift_compensation != "column":
        raise InvalidInputError(
            f"drift_compensation is {crossbar.drift_compensation!r}; known are none, global and column"
        )
    live = after > 0
    return cast(xp.where(live, before / xp.where(live, after, 1), 1), "float32")
