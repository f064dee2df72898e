"""The DAC: rows become codes, slice by slice, in the type that the product takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from hetc.runtimes.torch.crossbar import levels
from hetc.runtimes.torch.kernels.arithmetic import INTERPRETED, narrow, rint, slice_bounds
from hetc.runtimes.torch.kernels.rows import Rows
from hetc.runtimes.torch.kernels.stack import Stack

__all__ = ["Codes", "convert"]

BLOCK = 2048
"""Values that a program holds at once."""


@dataclass(frozen=True)
class Codes:
    """What the DACs put out.

    Attributes:
        codes: `[M, S * R]`, as a stack's conductances lie.
        reach: `[M, S]` float32, range of each row's slice; 0 where it contributes nothing, NaN for a row
            with an element that is not finite.
        by_group: Whether M counts rows in the order of their groups; else vectors as they came.
    """

    codes: torch.Tensor
    reach: torch.Tensor
    by_group: bool


@triton.jit
def _convert(
    x, stride, order, shared, groups, last, codes, reach, ranges, digital,
    rows, inputs, slices, padded, most,
    DAC: tl.constexpr, SORTED: tl.constexpr, GATHER: tl.constexpr, STATIC: tl.constexpr,
    DIGITAL: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    SLICES: tl.constexpr,
):  # fmt: skip
    start = tl.program_id(0) * ROWS
    end = rows
    if SORTED:
        end = tl.load(last)
        if start >= end:
            return
    row = start + tl.arange(0, ROWS)
    inside = row < end
    row = row.to(tl.int64)
    source = row
    if GATHER:
        source = tl.load(order + row, mask=inside, other=0) // shared
    group = tl.zeros([ROWS], tl.int32)
    if (STATIC or DIGITAL) and SORTED:
        group = tl.load(groups + row, mask=inside, other=0)
    place = tl.arange(0, BLOCK)
    number = tl.arange(0, SLICES)
    reaches = tl.zeros([ROWS, SLICES], tl.float32)
    spoiled = tl.zeros([ROWS, BLOCK], tl.int32)
    for index in range(slices):
        first, length = slice_bounds(index, inputs, slices)
        held = inside[:, None] & (place[None, :] < length)
        from_x = x + source[:, None] * stride + first + place[None, :]
        value = tl.load(from_x, mask=held, other=0.0).to(tl.float32)
        finite = tl.abs(value) < float("inf")
        spoiled = tl.where(finite, spoiled, 1)
        value = tl.where(finite, value, 0.0)
        if DIGITAL:
            of_group = digital + group[:, None].to(tl.int64) * inputs + first + place[None, :]
            value = tl.where(tl.load(of_group, mask=held, other=0) > 0, 0.0, value)
        r = tl.max(tl.abs(value), 1)
        if STATIC:
            given = tl.load(ranges + group * slices + index)
            r = tl.where(given > 0, given, r)
        # Triton's own division is not the nearest.
        inverse = tl.where(r < 1e-30, 0.0, tl.div_rn(tl.zeros_like(r) + most, tl.maximum(r, 1e-30)))
        code = tl.minimum(tl.maximum(value, -r[:, None]), r[:, None]) * inverse[:, None]
        if DAC:
            code = rint(code)
        here = tl.where(r < 1e-30, 0.0, r)[:, None]
        reaches = tl.where(number[None, :] == index, here, reaches)
        to = codes + row[:, None] * slices * padded + index * padded + place[None, :]
        fits = inside[:, None] & (place[None, :] < padded)
        tl.store(to, narrow(code, codes.dtype.element_ty), mask=fits)
    bad = tl.max(spoiled, 1) > 0
    reaches = tl.where(bad[:, None], float("nan"), reaches)
    to_reach = reach + row[:, None] * slices + number[None, :]
    tl.store(to_reach, reaches, mask=inside[:, None] & (number[None, :] < slices))


def convert(x: torch.Tensor, stack: Stack, rows: Rows | None = None, *, gather: bool = False) -> Codes:
    """Rows as codes for a stack's crossbars.

    Args:
        x: `[M, K]` floating point, the last dimension dense; vectors as they came with `gather`, else in the
            order of `rows`.
        stack: Its DAC, and the ranges where they are static.
        rows: Which row belongs to which group; None for a stack of one group. Rows of groups that the stack
            doesn't have, which come last, are left out.
        gather: Whether rows are picked from x as `rows` says.
    """
    settings = stack.settings
    slices = stack.input_range.shape[1]
    width = stack.conductances.shape[2]
    by_group = rows is not None and not (gather and stack.one_dac)
    count = rows.count if rows is not None and by_group else x.shape[0]
    codes = torch.empty(count, width, dtype=stack.code_type, device=x.device)
    reach = torch.empty(count, slices, dtype=torch.float32, device=x.device)
    given = rows if rows is not None and by_group else None
    block = triton.next_power_of_2(width // slices)
    tall = 64 if INTERPRETED else max(1, BLOCK // block)
    if count:
        _convert[(triton.cdiv(count, tall),)](
            x, x.stride(0),
            given.order if given else x, given.shared if given else 1, given.groups if given else x,
            given.ends[stack.groups - 1 :] if given else x,
            codes, reach, stack.input_range,
            x if stack.digital_inputs is None else stack.digital_inputs,
            count, stack.inputs, slices, width // slices,
            float(levels(settings.dac_bits)),
            DAC=settings.dac_bits > 0, SORTED=by_group, GATHER=by_group and gather,
            STATIC=not stack.dynamic, DIGITAL=stack.digital_inputs is not None,
            ROWS=tall, BLOCK=block, SLICES=triton.next_power_of_2(slices),
            num_warps=4 if block <= BLOCK else 8, enable_fp_fusion=False,
        )  # fmt: skip
    return Codes(codes, reach, by_group)
