"""Products of many groups of rows with their matrices in one launch, on tensor cores.

    analog    codes x conductances, slice by slice; each slice through its ADC in registers, the results added
    digital   rows x weights

Groups are experts, or the one matrix of a linear layer. A program takes one block of a group's rows and one
block of columns; where the activation is fused, the same columns of gate and up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton

from hetc.runtimes.torch.crossbar import levels
from hetc.runtimes.torch.kernels.arithmetic import INTERPRETED
from hetc.runtimes.torch.kernels.dac import Codes
from hetc.runtimes.torch.kernels.product_kernel import product
from hetc.runtimes.torch.kernels.rows import Rows
from hetc.runtimes.torch.kernels.stack import Stack

__all__ = ["Addend", "Tiles", "Weights", "analog_product", "block_rows", "digital_product"]

EXACT_SUM = 22
"""ADC bits up to which one addition rounds a code half to even."""


@dataclass(frozen=True)
class Tiles:
    """How a product is cut.

    Attributes:
        rows, columns, depth: Of one program's step; `columns` of gate and up together where they are fused.
        warps, stages: See Triton.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


@dataclass(frozen=True)
class Weights:
    """Clean matrices of a model.

    Attributes:
        values: `[E, N, K]` of any strides.
        members: `[G]` int32, which of the E each group is; None for all.
        bias: `[E, N]`, or None.
    """

    values: torch.Tensor
    members: torch.Tensor | None = None
    bias: torch.Tensor | None = None


@dataclass(frozen=True)
class Addend:
    """What is added to a product before it is rounded, in the order of its rows.

    Attributes:
        values: `[M, N]`, or `[M, D]` for some of the columns; the last dimension dense.
        places: `[N]` int32, which of the D each column is, -1 for none; None where all N are there.
    """

    values: torch.Tensor
    places: torch.Tensor | None = None


def block_rows(rows: int, groups: int) -> int:
    """Rows of a block for M rows that fall to G groups."""
    average = -(-rows // max(1, groups))
    return next((size for size in (16, 32, 64) if average <= size), 128)


def _tiles(rows: int, kind: torch.dtype, fused: bool) -> Tiles:
    depth = 128 // kind.itemsize
    if kind == torch.float32:
        return Tiles(min(rows, 64), 32 if fused else 64, depth, 4, 3)
    if rows == 128:
        return Tiles(128, 128, depth, 8, 3)
    return Tiles(rows, 128 if rows == 64 else 64, depth, 4, 4)


def analog_product(
    codes: Codes,
    stack: Stack,
    rows: Rows | None = None,
    *,
    out: torch.Tensor,
    bias: torch.Tensor | None = None,
    plus: Addend | None = None,
    scatter: bool = False,
    fused: bool = False,
    tiles: Tiles | None = None,
) -> torch.Tensor:
    """Rows through a stack's crossbars and ADCs.

    Args:
        codes: From `convert`.
        stack: Of the first G groups of `rows`.
        rows: Which row belongs to which group; None for one group.
        out: `[M, N]`, or `[M, N / 2]` if fused: where the results go; rows of other groups are left alone.
        bias: `[E, N]`, added digitally.
        plus: What digital neurons add.
        scatter: Whether results go where their rows stood before they were sorted.
        fused: Whether the result is silu(first half of the columns) * second half; without a bias or addend.
        tiles: How to cut; None for the usual.
    """
    settings, kept = stack.settings, stack.conductances
    tiles = tiles or _tiles(rows.block_rows if rows else block_rows(len(out), 1), kept.dtype, fused)
    width = kept.shape[2]
    slices = stack.gain.shape[1]
    half = kept.shape[1] // 2
    _launch(
        codes.codes, kept, rows, out, tiles,
        second=half * kept.stride(1) if fused else 0, second_column=half, fused=fused,
        reach=codes.reach, gain=stack.gain, step=stack.step, bias=bias, plus=plus, members=stack.members,
        first_group=0, groups=stack.groups, columns=kept.shape[1], inputs=width, slices=slices,
        steps=width // slices // tiles.depth, analog=True, settings_bits=settings.adc_bits, even=True,
        gather=rows is not None and not codes.by_group, scatter=scatter, round_=False,
    )  # fmt: skip
    return out


def digital_product(
    x: torch.Tensor,
    weights: Weights,
    rows: Rows | None = None,
    *,
    out: torch.Tensor,
    first_group: int = 0,
    gather: bool = False,
    scatter: bool = False,
    fused: bool = False,
    tiles: Tiles | None = None,
) -> torch.Tensor:
    """Rows x clean weights in the model's type, sums in float32.

    Args:
        x: `[M, K]`, the last dimension dense, in the order of `rows`; with `gather`, vectors as they came.
        weights: `[E, N, K]` of x's type.
        rows: Which row belongs to which group; None for one group.
        out: As for `analog_product`.
        first_group: Number of the weights' first group.
        gather, scatter, fused, tiles: As for `convert` and `analog_product`.
    """
    values = weights.values
    tiles = tiles or _tiles(rows.block_rows if rows else block_rows(len(out), 1), values.dtype, fused)
    half = values.shape[1] // 2
    groups = values.shape[0] if weights.members is None else len(weights.members)
    _launch(
        x, values, rows, out, tiles,
        second=half * values.stride(1) if fused else 0, second_column=half, fused=fused,
        reach=x, gain=x, step=x, bias=weights.bias, plus=None, members=weights.members,
        first_group=first_group, groups=groups, columns=values.shape[1], inputs=values.shape[2], slices=1,
        steps=-(-values.shape[2] // tiles.depth), analog=False, settings_bits=0,
        even=values.shape[2] % tiles.depth == 0, gather=gather, scatter=scatter, round_=True,
    )  # fmt: skip
    return out


def _launch(
    a: torch.Tensor,
    weights: torch.Tensor,
    rows: Rows | None,
    out: torch.Tensor,
    tiles: Tiles,
    *,
    second: int,
    second_column: int,
    fused: bool,
    reach: torch.Tensor,
    gain: torch.Tensor,
    step: torch.Tensor,
    bias: torch.Tensor | None,
    plus: Addend | None,
    members: torch.Tensor | None,
    first_group: int,
    groups: int,
    columns: int,
    inputs: int,
    slices: int,
    steps: int,
    analog: bool,
    settings_bits: int,
    even: bool,
    gather: bool,
    scatter: bool,
    round_: bool,
) -> None:
    if not len(out):
        return
    columns_of_program = tiles.columns // 2 if fused else tiles.columns
    column_blocks = triton.cdiv(out.shape[1], columns_of_program)
    grid = (
        (column_blocks, rows.block_group.numel())
        if rows
        else (triton.cdiv(len(out), tiles.rows), column_blocks)
    )
    product[grid](
        a, a.stride(0), weights, weights.stride(0), weights.stride(1), weights.stride(2),
        second, second_column,
        reach, gain, step, a if bias is None else bias, 0 if bias is None else bias.stride(0),
        a if plus is None else plus.values, 0 if plus is None else plus.values.stride(0),
        a if plus is None or plus.places is None else plus.places, out, out.stride(0),
        rows.order if rows else a, rows.shared if rows else 1, a if members is None else members,
        rows.block_group if rows else a, rows.block_start if rows else a, rows.ends if rows else a,
        first_group, first_group + groups,
        len(out), out.shape[1], columns, inputs, slices,
        STEPS=steps, ANALOG=analog, ADC=settings_bits > 0, LIMIT=float(levels(settings_bits)),
        ONE_ADDITION=settings_bits <= EXACT_SUM, FUSED=fused, BIAS=bias is not None, EVEN=even,
        SCHEDULED=rows is not None, GATHER=gather, SCATTER=scatter, MEMBERS=members is not None,
        PLUS=plus is not None, PLACED=plus is not None and plus.places is not None,
        ROUND=round_, WIDE=INTERPRETED and a.dtype == torch.bfloat16,
        ROWS=tiles.rows, COLUMNS=columns_of_program, DEPTH=tiles.depth,
        num_warps=tiles.warps, num_stages=tiles.stages,
    )  # fmt: skip
