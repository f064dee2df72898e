"""Rows on their way through experts: sorted by expert, cut into blocks, and put together again.

Nothing here waits for the device: how many rows an expert has is known to the kernels alone, so that a CUDA
graph can hold a whole layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from hetc.runtimes.torch.kernels.arithmetic import narrow

__all__ = ["Rows", "combine", "sort_rows"]


@dataclass(frozen=True)
class Rows:
    """M rows in the order of their groups, and the blocks that a product works on.

    Attributes:
        order: `[M]` int64, where each row stood.
        shared: How many neighbours of the old order are one vector: the experts that a token chose.
        groups: `[M]` int32, group of each row, ascending.
        ends: `[G]` int32, behind each group's last row.
        block_group, block_start: `[B]` int32, group and first row of each block; blocks without rows have
            group G.
        block_rows: Rows of a block at most.
    """

    order: torch.Tensor
    shared: int
    groups: torch.Tensor
    ends: torch.Tensor
    block_group: torch.Tensor
    block_start: torch.Tensor
    block_rows: int

    @property
    def count(self) -> int:
        """M."""
        return self.order.numel()


@triton.jit
def _schedule(
    groups, ends, block_group, block_start, rows, count, blocks,
    BLOCK_ROWS: tl.constexpr, GROUPS: tl.constexpr, STEPS: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Each group's end by bisection, and its blocks."""
    g = tl.arange(0, GROUPS)
    low = tl.zeros_like(g)
    high = tl.zeros_like(g) + rows
    for _ in range(STEPS):
        middle = (low + high) // 2
        open_ = low < high
        behind = tl.load(groups + middle, mask=open_, other=0) <= g
        low = tl.where(open_ & behind, middle + 1, low)
        high = tl.where(open_ & (behind == 0), middle, high)
    end = tl.where(g < count, low, rows)
    tl.store(ends + g, end, mask=g < count)
    # Rows are sorted: a group starts where the one before it ends.
    begin = tl.zeros_like(g)
    high = tl.zeros_like(g) + rows
    for _ in range(STEPS):
        middle = (begin + high) // 2
        open_ = begin < high
        behind = tl.load(groups + middle, mask=open_, other=0) < g
        begin = tl.where(open_ & behind, middle + 1, begin)
        high = tl.where(open_ & (behind == 0), middle, high)
    begin = tl.where(g < count, begin, rows)
    number = (end - begin + BLOCK_ROWS - 1) // BLOCK_ROWS
    last = tl.cumsum(number, 0)
    for chunk in range(0, blocks, BLOCKS):
        b = chunk + tl.arange(0, BLOCKS)
        passed = last[None, :] <= b[:, None]
        group = tl.sum(passed.to(tl.int32), 1)
        before = tl.sum(tl.where(passed, number[None, :], 0), 1)
        mine = g[None, :] == group[:, None]
        start = tl.sum(tl.where(mine, begin[None, :], 0), 1) + (b - before) * BLOCK_ROWS
        tl.store(block_group + b, tl.minimum(group, count), mask=b < blocks)
        tl.store(block_start + b, start, mask=b < blocks)


def sort_rows(chosen: torch.Tensor, groups: int, block_rows: int) -> Rows:
    """Sorts rows by the group that each belongs to.

    Args:
        chosen: `[T, K]` group of each of a token's choices; 0 .. groups - 1.
        groups: G.
        block_rows: Rows of a block at most.
    """
    ascending, order = chosen.flatten().to(torch.int32).sort(stable=True)
    rows = order.numel()
    blocks = min(rows, rows // block_rows + groups)
    ends = torch.empty(groups, dtype=torch.int32, device=chosen.device)
    block_group, block_start = (
        torch.empty(blocks, dtype=torch.int32, device=chosen.device) for _ in range(2)
    )
    width = triton.next_power_of_2(groups)
    _schedule[(1,)](
        ascending, ends, block_group, block_start, rows, groups, blocks,
        BLOCK_ROWS=block_rows, GROUPS=width, STEPS=max(1, rows.bit_length()), BLOCKS=max(1, 4096 // width),
        num_warps=8,
    )  # fmt: skip
    return Rows(order, chosen.shape[1], ascending, ends, block_group, block_start, block_rows)


@triton.jit
def _combine(y, weights, out, width, CHOICES: tl.constexpr, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for choice in tl.static_range(CHOICES):
        row = token * CHOICES + choice
        part = tl.load(y + row * width + n, mask=n < width, other=0.0).to(tl.float32)
        total += part * tl.load(weights + row).to(tl.float32)
    tl.store(out + token * width + n, narrow(total, out.dtype.element_ty), mask=n < width)


def combine(y: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """`[T * K, H]` outputs and `[T, K]` weights of choices -> their sum `[T, H]`, added in float32."""
    tokens, choices = weights.shape
    out = torch.empty(tokens, y.shape[1], dtype=y.dtype, device=y.device)
    block = min(1024, triton.next_power_of_2(y.shape[1]))
    _combine[(tokens, triton.cdiv(y.shape[1], block))](
        y, weights.contiguous(), out, y.shape[1], CHOICES=choices, BLOCK=block, num_warps=4
    )
    return out
