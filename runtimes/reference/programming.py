"""What a matrix's crossbars hold: K-slices, weight scales, and conductances as programmed, drifted and read.

Arrays are NumPy's or PyTorch's throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hetc.base.errors import InvalidInputError
from hetc.runtimes.reference.aging import add_flicker, compensation, drift
from hetc.runtimes.reference.arrays import cast, library
from hetc.runtimes.reference.layout import Layout, lay_out, split
from hetc.runtimes.reference.noise import add_noise, normals, program_pair, random_words, store
from hetc.runtimes.reference.settings import Crossbar

__all__ = ["TINY", "ProgrammedSlice", "program", "program_slices", "weight_scale"]

TINY = 1e-30
"""A scale or range below it counts as 0: what lies there contributes nothing."""


@dataclass(frozen=True)
class ProgrammedSlice:
    """One K-slice on its crossbars.

    Attributes:
        conductances: ``[rows, N]`` float32 in units of ``scale``, as the store keeps them.
        scale: ``[N]`` or ``[1]`` float32, the weight that maps to g_max.
        compensation: ``[N]`` float32, the digital factor that undoes the mean drift.
    """

    conductances: Any
    scale: Any
    compensation: Any

    @property
    def weights(self) -> Any:
        """``[rows, N]`` float32, in units of the clean weights."""
        return self.scale * self.conductances


def weight_scale(clean: Any, crossbar: Crossbar, tiles: Sequence[slice] | None = None) -> Any:
    """``[N]``: the largest weight of each column of ``clean [rows, N]``, or of its tile, by ``scale_mode``.

    Args:
        clean: one K-slice; without rows the scale is 0.
        crossbar: the settings.
        tiles: the columns of each tile; None where all N of the matrix are there.

    Raises:
        InvalidInputError: for an unknown ``scale_mode``.
    """
    xp = library(clean)
    largest = xp.amax(abs(clean), 0) if len(clean) else xp.zeros_like(clean.sum(0))
    if crossbar.scale_mode == "tile":
        for tile in split(len(largest), crossbar.tile_columns) if tiles is None else tiles:
            if tile.stop > tile.start:
                largest[tile] = largest[tile].max()
    elif crossbar.scale_mode != "column":
        raise InvalidInputError(f"scale_mode is {crossbar.scale_mode!r}; known are column and tile")
    return largest


def program_slices(
    clean: Any, crossbar: Crossbar, stream: int, given_scale: Any = None, layout: Layout | None = None
) -> list[ProgrammedSlice]:
    """Draw what the crossbars hold: programmed, drifted, and as one reading finds them.

    Args:
        clean: ``[K, N]`` float32.
        crossbar: converters are not looked at; noise form ``none``, or a scale of 0 without drift or 1/f
            noise, leaves the weights clean.
        stream: number of the matrix.
        given_scale: ``[S, N]`` or ``[S, 1]``, the weight that maps to g_max; `weight_scale` if None.
        layout: what of the matrix stands on crossbars, as the slices returned hold it; None: all of it.

    Raises:
        InvalidInputError: if clean holds NaN or infinity, or noise form or store is unknown.
    """
    xp = library(clean)
    if not xp.isfinite(clean).all():
        raise InvalidInputError(f"weights of stream {stream} hold NaN or infinity and can't be programmed")
    if layout is None:
        inputs, outputs = clean.shape
        layout = lay_out(inputs, outputs, crossbar.tile_rows, crossbar.tile_columns)
    columns = xp.asarray(layout.columns, device=clean.device)
    slices = []
    for index, rows in enumerate(xp.asarray(rows, device=clean.device) for rows in layout.rows):
        part = clean[rows][:, columns]
        one = xp.ones_like(part.sum(0))
        if not crossbar.programs:
            slices.append(ProgrammedSlice(part, one, one))
            continue
        if given_scale is None:
            scale = weight_scale(part, crossbar, layout.tiles)
        else:
            scale = given_scale[index] if given_scale.shape[1] == 1 else given_scale[index][columns]
        live = scale >= TINY
        u = xp.clip(xp.where(live, part / xp.where(live, scale, 1), 0), -1, 1)
        before, now = _conductances(u, (rows, columns), crossbar, stream)
        off = ~live | (abs(u) < crossbar.noise_floor)
        before, now = xp.where(off, 0, before), xp.where(off, 0, now)
        factors = compensation(before, now, crossbar, layout.tiles) if crossbar.drifts else one
        slices.append(ProgrammedSlice(store(now, crossbar.store), scale, factors))
    return slices


def _conductances(u: Any, numbers: tuple[Any, Any], crossbar: Crossbar, stream: int) -> tuple[Any, Any]:
    """What the array held when it was programmed to u, and what it holds when it is read.

    `numbers` are those of its rows and columns in the whole matrix.
    """
    xp = library(u)
    positions = *numbers, stream, crossbar.seed
    words = random_words(*positions)
    z0, z1 = normals(*words[:2])
    noise = crossbar.sigma, crossbar.noise_scale, crossbar.noise_sigma_breaks
    if crossbar.noise_form != "differential-pair" or not (crossbar.drifts or crossbar.flicker_noise):
        g = add_noise(u, z0, z1, crossbar.noise_form, *noise, crossbar.noise_offset)
        return g, g
    pair = program_pair(u, z0, z1, *noise, crossbar.noise_offset)
    now = list(pair)
    if crossbar.drifts:
        targets = xp.clip(u, 0, None), xp.clip(-u, 0, None)
        now = [drift(g, t, z, crossbar) for g, t, z in zip(pair, targets, normals(*words[2:]), strict=True)]
    if crossbar.flicker_noise:
        draws = normals(*random_words(*positions, purpose=2 * crossbar.read_seed + 1)[:2])
        now = [add_flicker(g, p, z, crossbar) for g, p, z in zip(now, pair, draws, strict=True)]
    return pair[0] - pair[1], now[0] - now[1]


def program(
    w: Any, crossbar: Crossbar, stream: int, *, transpose_weight: bool, weight_scale: Any = None
) -> Any:
    """The weights of `program_slices`, whole.

    Args:
        w: ``[N, K]`` if transpose_weight, else ``[K, N]``.
        crossbar, stream: see `program_slices`.
        transpose_weight: orientation of w.
        weight_scale: ``given_scale`` of `program_slices`.

    Returns:
        ``[K, N]`` float32, in units of w.
    """
    clean = cast(w.T if transpose_weight else w, "float32")
    slices = program_slices(clean, crossbar, stream, weight_scale)
    return library(clean).concatenate([one.weights for one in slices])
