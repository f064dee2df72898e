"""What time does to a programmed pair: drift of the conductances, 1/f noise of a reading, compensation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hetc.errors import InvalidInputError
from hetc.runtimes.reference.noise import Float32
from hetc.runtimes.reference.settings import Crossbar

__all__ = ["add_flicker", "compensation", "curve", "drift"]

PIECE = 10
SMALLEST = np.float32(1e-7)


def curve(r: Float32, pieces: Sequence[float]) -> Float32:
    """A curve of the device model at r, as `docs/operators.md` defines it."""
    r = np.maximum(r, SMALLEST)
    total = np.zeros_like(r)
    for index in range(0, len(pieces), PIECE):
        start, low, high, logarithm, power, exponent, *cubic = map(np.float32, pieces[index : index + PIECE])
        value = np.zeros_like(r)
        for coefficient in reversed(cubic):
            value = value * r + coefficient
        value = value + logarithm * np.log(r) + power * r**exponent
        total = np.where((r >= start) | (index == 0), np.clip(value, low, high), total)
    return total


def drift(g: Float32, target: Float32, z: Float32, crossbar: Crossbar) -> Float32:
    """A device `drift_time` after it was programmed to `g` with the target `target`."""
    mean, deviation = curve(target, crossbar.drift_mean), curve(target, crossbar.drift_deviation)
    nu = np.abs(mean + deviation * z)
    t0 = crossbar.drift_reference
    decades = np.float32(np.log((crossbar.drift_time + t0) / t0))
    offset = np.float32(crossbar.noise_offset)
    return (g + offset) * np.exp(-nu * decades) - offset


def add_flicker(g: Float32, programmed: Float32, z: Float32, crossbar: Crossbar) -> Float32:
    """A device as one reading of the array finds it; never below 0 conductance."""
    read = crossbar.flicker_read_time
    elapsed = crossbar.drift_time + crossbar.drift_reference
    spread = np.float32(crossbar.flicker_noise * np.sqrt(max(0.0, np.log((elapsed + read) / (2 * read)))))
    relative = curve(programmed, crossbar.flicker_deviation) * spread
    offset = np.float32(crossbar.noise_offset)
    return np.maximum(-offset, g + (g + offset) * relative * z)


def compensation(programmed: Float32, now: Float32, crossbar: Crossbar, columns: list[slice]) -> Float32:
    """``[N]``: the digital factor that undoes the mean drift of one K-slice.

    Args:
        programmed, now: ``[rows, N]`` conductances at programming and now.
        crossbar: ``drift_compensation`` is ``none``, ``global`` (one factor a tile) or ``column``.
        columns: the columns of each tile.

    Raises:
        InvalidInputError: for an unknown kind.
    """
    before, after = (np.abs(g.astype(np.float64)).sum(axis=0) for g in (programmed, now))
    if crossbar.drift_compensation == "global":
        for tile in columns:
            before[tile], after[tile] = before[tile].sum(), after[tile].sum()
    elif crossbar.drift_compensation == "none":
        return np.ones(len(before), np.float32)
    elif crossbar.drift_compensation != "column":
        raise InvalidInputError(
            f"drift_compensation is {crossbar.drift_compensation!r}; known are none, global and column"
        )
    factors: Float32 = np.divide(before, after, out=np.ones_like(before), where=after > 0).astype(np.float32)
    return factors
