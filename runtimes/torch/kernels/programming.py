"""Programs many matrices of one shape in one launch, straight into the type that the array's store keeps.

The draws and formulas are those of `hetc.runtimes.reference.programming`, weight by weight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from hetc.runtimes.reference.settings import Crossbar
from hetc.runtimes.torch.kernels.arithmetic import curve, narrow, normals, rint, slice_bounds

__all__ = ["ProgrammedSums", "program"]

BLOCK = 4096
"""Weights that a program holds at once: whole columns of a slice."""


@dataclass(frozen=True)
class ProgrammedSums:
    """What is known of each column slice beside its weights, `[G, S, N]` float32 each.

    Attributes:
        largest: The largest conductance before rounding, for the store `int8`.
        before, now: Sums of the conductances' magnitudes when they were programmed and as they are read.
    """

    largest: torch.Tensor
    before: torch.Tensor
    now: torch.Tensor


@triton.jit
def _deviation(r, table, breaks, pieces: tl.constexpr, terms: tl.constexpr):
    """Standard deviation of a device at r."""
    total = tl.zeros_like(r)
    for index in tl.static_range(pieces):
        value = tl.zeros_like(r)
        for term in tl.static_range(terms):
            value = value * r + tl.load(table + (index + 1) * terms - 1 - term)
        if index == 0:
            total = value
        else:
            total = tl.where(r >= tl.load(breaks + index - 1), value, total)
    return tl.maximum(total, 0.0)


@triton.jit
def _device(
    target, z, aged, read, sigma, breaks, mean, spread, flicker,
    noise_scale, offset, drift_log, flicker_scale,
    PIECES: tl.constexpr, TERMS: tl.constexpr,
    MEAN: tl.constexpr, SPREAD: tl.constexpr, FLICKER: tl.constexpr,
):  # fmt: skip
    """One device of a pair, as programmed and as it is read."""
    noise = noise_scale * _deviation(target, sigma, breaks, PIECES, TERMS)
    programmed = tl.maximum(target + noise * z, -offset)
    now = programmed
    if MEAN > 0:
        nu = tl.abs(curve(target, mean, MEAN) + curve(target, spread, SPREAD) * aged)
        now = (programmed + offset) * tl.exp(-nu * drift_log) - offset
    if FLICKER > 0:
        relative = curve(programmed, flicker, FLICKER) * flicker_scale
        now = tl.maximum(now + (now + offset) * relative * read, -offset)
    return programmed, now


@triton.jit(do_not_specialize=["seed", "purpose"])
def _program(
    weight, weight_group, weight_column, weight_row,
    kept, kept_group, kept_column,
    scale, streams, digital, largest, before_sum, now_sum,
    sigma, breaks, mean, spread, flicker,
    inputs, outputs, slices, padded, seed, purpose,
    noise_scale, offset, floor, drift_log, flicker_scale,
    PAIR: tl.constexpr, STORE: tl.constexpr, SUMS: tl.constexpr, DIGITAL: tl.constexpr,
    PIECES: tl.constexpr, TERMS: tl.constexpr,
    MEAN: tl.constexpr, SPREAD: tl.constexpr, FLICKER: tl.constexpr,
    COLUMNS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    part = tl.program_id(1)
    group = tl.program_id(2).to(tl.int64)
    first, length = slice_bounds(part, inputs, slices)
    n = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    place = tl.arange(0, ROWS)
    k = first + place
    column, row = n[:, None], k[None, :]
    known = (column < outputs) & (place[None, :] < length)
    from_weight = weight + group * weight_group + column.to(tl.int64) * weight_column + row * weight_row
    w = tl.load(from_weight, mask=known, other=0.0).to(tl.float32)
    at = (group * slices + part) * outputs + n
    alpha = tl.load(scale + at, mask=n < outputs, other=0.0)
    live = (alpha >= 1e-30)[:, None]
    u = tl.where(live, tl.div_rn(w, tl.zeros_like(w) + tl.where(live, alpha[:, None], 1.0)), 0.0)
    u = tl.minimum(tl.maximum(u, -1.0), 1.0)
    stream = tl.load(streams + group)
    w0, w1, w2, w3 = tl.philox(seed, column, row, stream, 0)
    z0, z1 = normals(w0, w1)
    if PAIR:
        z2, z3 = z0, z1
        if MEAN > 0:
            z2, z3 = normals(w2, w3)
        r0, r1 = z0, z1
        if FLICKER > 0:
            w0, w1, w2, w3 = tl.philox(seed, column, row, stream, purpose.to(tl.uint32))
            r0, r1 = normals(w0, w1)
        plus, plus_now = _device(
            tl.maximum(u, 0.0), z0, z2, r0, sigma, breaks, mean, spread, flicker,
            noise_scale, offset, drift_log, flicker_scale, PIECES, TERMS, MEAN, SPREAD, FLICKER,
        )  # fmt: skip
        minus, minus_now = _device(
            tl.maximum(-u, 0.0), z1, z3, r1, sigma, breaks, mean, spread, flicker,
            noise_scale, offset, drift_log, flicker_scale, PIECES, TERMS, MEAN, SPREAD, FLICKER,
        )  # fmt: skip
        before, g = plus - minus, plus_now - minus_now
    else:
        g = u + noise_scale * _deviation(tl.abs(u), sigma, breaks, PIECES, TERMS) * z0
        before = g
    on = known & live & (tl.abs(u) >= floor)
    if DIGITAL:
        of_group = digital + group * inputs + row
        on = on & (tl.load(of_group, mask=place[None, :] < length, other=0) == 0)
    g = tl.where(on, g, 0.0)
    if SUMS:
        tl.store(before_sum + at, tl.sum(tl.abs(tl.where(on, before, 0.0)), 1), mask=n < outputs)
        tl.store(now_sum + at, tl.sum(tl.abs(g), 1), mask=n < outputs)
    to = kept + group * kept_group + column.to(tl.int64) * kept_column + part * padded + place[None, :]
    holds = (column < outputs) & (place[None, :] < padded)
    if STORE == "int8":
        most = tl.max(tl.abs(g), 1)
        tl.store(largest + at, most, mask=n < outputs)
        inverse = tl.where(
            most > 0, tl.div_rn(tl.zeros_like(most) + 127.0, tl.where(most > 0, most, 1.0)), 0.0
        )
        g = rint(g * inverse[:, None])
    tl.store(to, narrow(g, kept.dtype.element_ty), mask=holds)


def program(
    weights: torch.Tensor,
    streams: torch.Tensor,
    scale: torch.Tensor,
    kept: torch.Tensor,
    settings: Crossbar,
    digital_inputs: torch.Tensor | None = None,
) -> ProgrammedSums:
    """Draws what crossbars hold, in units of the weight scale, and the store's level numbers for `int8`.

    Args:
        weights: `[G, N, K]` of any strides, finite.
        streams: `[G]` int32.
        scale: `[G, S, N]` float32, the weight that maps to g_max.
        kept: `[G, N, S * R]` with the last dimension dense, where the conductances go: R >= the longest
            slice; what is behind a slice becomes 0.
        settings: `programs` holds; store and `noise_form` are known ones.
        digital_inputs: `[G, K]` bool, the inputs whose conductances are 0; None for none.
    """
    groups, outputs, inputs = weights.shape
    slices = scale.shape[1]
    padded = kept.shape[2] // slices
    rows = triton.next_power_of_2(padded)
    columns = max(1, min(BLOCK // rows, triton.next_power_of_2(outputs)))
    sums = ProgrammedSums(*(torch.empty_like(scale) for _ in range(3)))
    pair = settings.noise_form == "differential-pair"
    drifts = settings.drifts and pair
    flickers = settings.flicker_noise > 0 and pair
    elapsed = settings.drift_time + settings.drift_reference
    read = settings.flicker_read_time
    pieces = len(settings.noise_sigma_breaks) + 1
    spread = math.sqrt(max(0.0, math.log((elapsed + read) / (2 * read))))

    def table(values: tuple[float, ...]) -> torch.Tensor:
        return torch.tensor(values or (0.0,), dtype=torch.float32, device=weights.device)

    _program[(triton.cdiv(outputs, columns), slices, groups)](
        weights, weights.stride(0), weights.stride(1), weights.stride(2),
        kept, kept.stride(0), kept.stride(1),
        scale, streams, streams if digital_inputs is None else digital_inputs.to(torch.uint8),
        sums.largest, sums.before, sums.now,
        table(settings.sigma), table(settings.noise_sigma_breaks),
        table(settings.drift_mean), table(settings.drift_deviation), table(settings.flicker_deviation),
        inputs, outputs, slices, padded, settings.seed, 2 * settings.read_seed + 1,
        float(settings.noise_scale), float(settings.noise_offset), float(settings.noise_floor),
        math.log(elapsed / settings.drift_reference) if drifts else 0.0,
        settings.flicker_noise * spread if flickers else 0.0,
        PAIR=pair, STORE=settings.store, SUMS=drifts and settings.drift_compensation != "none",
        DIGITAL=digital_inputs is not None,
        PIECES=pieces, TERMS=len(settings.sigma) // pieces,
        MEAN=len(settings.drift_mean) // 10 if drifts else 0,
        SPREAD=len(settings.drift_deviation) // 10 if drifts else 0,
        FLICKER=len(settings.flicker_deviation) // 10 if flickers else 0,
        COLUMNS=columns, ROWS=rows, num_warps=8 if rows * columns >= BLOCK else 4,
        enable_fp_fusion=False,
    )  # fmt: skip
    return sums
