"""The kernel behind analog and digital products, see `hetc.runtimes.torch.kernels.products`."""

from __future__ import annotations

import triton
import triton.language as tl

from hetc.runtimes.torch.kernels.arithmetic import narrow, rint

__all__ = ["product"]


@triton.jit
def _contribution(
    sums, gain, step, reach, column, known,
    ADC: tl.constexpr, LIMIT: tl.constexpr, ONE_ADDITION: tl.constexpr,
):  # fmt: skip
    """What the sums of one slice add to y."""
    value = sums.to(tl.float32) * tl.load(gain + column, mask=known, other=0.0)[None, :]
    if ADC:
        value = tl.minimum(tl.maximum(value, -LIMIT), LIMIT)
        if ONE_ADDITION:
            value = (value + 12582912.0) - 12582912.0
        else:
            value = rint(value)
    return value * (reach[:, None] * tl.load(step + column, mask=known, other=0.0)[None, :])


@triton.jit
def product(
    a, a_row, weights, w_group, w_column, w_row, second, second_column,
    reach, gain, step, bias, bias_group, plus, plus_row, plus_place, out, out_row,
    order, shared, members, block_group, block_start, ends, first_group, last_group,
    rows, outputs, columns, inputs, slices,
    STEPS: tl.constexpr, ANALOG: tl.constexpr, ADC: tl.constexpr, LIMIT: tl.constexpr,
    ONE_ADDITION: tl.constexpr, FUSED: tl.constexpr, BIAS: tl.constexpr, EVEN: tl.constexpr,
    SCHEDULED: tl.constexpr, GATHER: tl.constexpr, SCATTER: tl.constexpr, MEMBERS: tl.constexpr,
    PLUS: tl.constexpr, PLACED: tl.constexpr, ROUND: tl.constexpr, WIDE: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    if SCHEDULED:
        block = tl.program_id(1)
        group = tl.load(block_group + block)
        if (group < first_group) | (group >= last_group):
            return
        start = tl.load(block_start + block)
        end = tl.load(ends + group)
        group = group - first_group
        column_block = tl.program_id(0)
    else:
        # Rows first: the programs that run at one time share what is large, the matrix.
        group = 0
        start = tl.program_id(0) * ROWS
        end = rows
        column_block = tl.program_id(1)
    member = group
    if MEMBERS:
        member = tl.load(members + group)
    row = start + tl.arange(0, ROWS)
    inside = row < end
    row = tl.minimum(row, end - 1).to(tl.int64)
    source = row
    if GATHER:
        source = tl.load(order + row) // shared
    n = column_block * COLUMNS + tl.arange(0, COLUMNS)
    known = n < outputs
    column = tl.minimum(n, outputs - 1).to(tl.int64)
    k = tl.arange(0, DEPTH)
    from_a = a + source[:, None] * a_row + k[None, :]
    matrix = weights + tl.cast(member, tl.int64) * w_group
    from_w = matrix + column[None, :] * w_column + k[:, None].to(tl.int64) * w_row
    kind = tl.int32 if a.dtype.element_ty == tl.int8 else tl.float32
    y = tl.zeros([ROWS, COLUMNS], tl.float32)
    y2 = y
    at = tl.cast(member, tl.int64) * slices * columns
    # One loop to the compiler: apart, it keeps too much in registers.
    for index in tl.range(0, slices, flatten=True):
        sums = tl.zeros([ROWS, COLUMNS], kind)
        sums2 = sums
        for inner in range(STEPS):
            if EVEN:
                left = tl.load(from_a)
                right = tl.load(from_w)
            else:
                left = tl.load(from_a, mask=k[None, :] < inputs - inner * DEPTH, other=0.0)
                right = tl.load(from_w, mask=k[:, None] < inputs - inner * DEPTH, other=0.0)
            if WIDE:  # Triton's interpreter multiplies no bfloat16
                left, right = left.to(tl.float32), right.to(tl.float32)
            sums = tl.dot(left, right, sums, input_precision="ieee", out_dtype=kind)
            if FUSED:
                if EVEN:
                    right = tl.load(from_w + second)
                else:
                    right = tl.load(from_w + second, mask=k[:, None] < inputs - inner * DEPTH, other=0.0)
                if WIDE:
                    right = right.to(tl.float32)
                sums2 = tl.dot(left, right, sums2, input_precision="ieee", out_dtype=kind)
            from_a += DEPTH
            from_w += DEPTH * w_row
        if ANALOG:
            of_slice = at + index * columns
            range_ = tl.load(reach + source * slices + index)
            y += _contribution(
                sums, gain + of_slice, step + of_slice, range_, n, known, ADC, LIMIT, ONE_ADDITION
            )
            if FUSED:
                of_second = of_slice + second_column
                y2 += _contribution(
                    sums2, gain + of_second, step + of_second, range_, n, known, ADC, LIMIT, ONE_ADDITION
                )
        else:
            y = sums
            y2 = sums2
    if PLUS:
        place, adds = n, known
        if PLACED:
            place = tl.load(plus_place + n, mask=known, other=-1)
            adds = place >= 0
        added = tl.load(plus + row[:, None] * plus_row + place[None, :], mask=adds[None, :], other=0.0)
        y += added.to(tl.float32)
    if BIAS:
        of_bias = tl.load(bias + tl.cast(member, tl.int64) * bias_group + n, mask=known, other=0.0)
        y += of_bias.to(tl.float32)[None, :]
    if FUSED:
        if ROUND:
            y = narrow(y, out.dtype.element_ty).to(tl.float32)
            y2 = narrow(y2, out.dtype.element_ty).to(tl.float32)
        y = y / (1.0 + tl.exp(-y)) * y2
    to = row
    if SCATTER:
        to = tl.load(order + row)
    into = out + to[:, None] * out_row + n[None, :]
    tl.store(into, narrow(y, out.dtype.element_ty), mask=inside[:, None] & known[None, :])
