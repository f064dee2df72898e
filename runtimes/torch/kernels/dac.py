"""The DAC: rows become codes, slice by slice, in the type that the product takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from hetc.runtimes.torch.crossbar import levels
from hetc.runtimes.torch.kernels.arithmetic import narrow, rint, slice_bounds
from hetc.runtimes.torch.kernels.rows import Rows
from hetc.runtimes.torch.kernels.stack import Stack

__all__ = ["Codes", "convert"]


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
    x, stride, order, shared, groups, last, codes, reach, ranges, inputs, slices, padded, most,
    DAC: tl.constexpr, SORTED: tl.constexpr, GATHER: tl.constexpr, STATIC: tl.constexpr,
    BLOCK: tl.constexpr, SLICES: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    if SORTED:
        if row >= tl.load(last):
            return
    source = row
    if GATHER:
        source = tl.load(order + row) // shared
    group = 0
    if STATIC and SORTED:
        group = tl.load(groups + row)
    place = tl.arange(0, BLOCK)
    number = tl.arange(0, SLICES)
    reaches = tl.zeros([SLICES], tl.float32)
    spoiled = tl.zeros([BLOCK], tl.int32)
    for index in range(slices):
        first, length = slice_bounds(index, inputs, slices)
        value = tl.load(x + source * stride + first + place, mask=place < length, other=0.0).to(tl.float32)
        finite = tl.abs(value) < float("inf")
        spoiled = tl.where(finite, spoiled, 1)
        value = tl.where(finite, value, 0.0)
        r = tl.max(tl.abs(value), 0)
        if STATIC:
            given = tl.load(ranges + group * slices + index)
            r = tl.where(given > 0, given, r)
        inverse = tl.where(r < 1e-30, 0.0, tl.div_rn(most, tl.maximum(r, 1e-30)))
        code = tl.minimum(tl.maximum(value, -r), r) * inverse
        if DAC:
            code = rint(code)
        reaches = tl.where(number == index, tl.where(r >= 1e-30, r, 0.0), reaches)
        to = codes + row * slices * padded + index * padded + place
        tl.store(to, narrow(code, codes.dtype.element_ty), mask=place < padded)
    reaches = tl.where(tl.max(spoiled, 0) > 0, float("nan"), reaches)
    tl.store(reach + row * slices + number, reaches, mask=number < slices)


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
    by_group = rows is not None and not (gather and stack.dynamic)
    count = rows.count if rows is not None and by_group else x.shape[0]
    codes = torch.empty(count, width, dtype=stack.code_type, device=x.device)
    reach = torch.empty(count, slices, dtype=torch.float32, device=x.device)
    given = rows if rows is not None and by_group else None
    block = triton.next_power_of_2(width // slices)
    if count:
        _convert[(count,)](
            x, x.stride(0),
            given.order if given else x, given.shared if given else 1, given.groups if given else x,
            given.ends[stack.groups - 1 :] if given else x,
            codes, reach, stack.input_range, stack.inputs, slices, width // slices,
            float(levels(settings.dac_bits)),
            DAC=settings.dac_bits > 0, SORTED=by_group, GATHER=by_group and gather,
            STATIC=not stack.dynamic, BLOCK=block, SLICES=triton.next_power_of_2(slices),
            num_warps=max(1, min(8, block // 128)), enable_fp_fusion=False,
        )  # fmt: skip
    return Codes(codes, reach, by_group)
