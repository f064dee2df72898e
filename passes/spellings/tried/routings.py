"""Scores that make a router choose what a trial wants, and tokens in a shape that a graph takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = ["favouring", "in_turn", "sets_left_out", "token_shape"]

OTHER_SIZE = 5
"""What symbols in the shape of tokens stand for, all but one."""


def favouring(
    random: np.random.Generator, experts: int, favoured: NDArray[np.int64], left_out: Sequence[int] = ()
) -> NDArray[np.float32]:
    """Positive scores below 1, `[T, E]`, no two of a row equal: each row's favoured experts are highest.

    Args:
        random: Draws the order of the others.
        experts: E.
        favoured: `[T, N]`.
        left_out: Experts that are lower than all others.
    """
    rows = len(favoured)
    scores = random.permuted(np.tile(np.linspace(0.01, 0.3, experts), (rows, 1)), axis=1)
    scores[:, list(left_out)] *= 0.01
    scores[np.arange(rows)[:, None], favoured] += 0.4
    return scores.astype(np.float32)


def in_turn(experts: Sequence[int], rows: int, width: int) -> Iterator[NDArray[np.int64]]:
    """Batches `[rows, width]` in which each of some experts comes once at least, in their order."""
    for first in range(0, len(experts), rows * width):
        yield np.asarray(experts)[(first + np.arange(rows * width)).reshape(rows, width) % len(experts)]


def sets_left_out(experts: int, top_k: int) -> list[tuple[int, ...]]:
    """Sets of experts such that of any two, some set has the second and not the first.

    Where nobody chooses the experts of a set and somebody each of the others, any two are told apart: a
    mask, a branch or a row that is another expert's gives another result. Experts are halved by each bit of
    their number; at least K are never left out.
    """
    largest = experts - top_k
    if largest == 0:
        return []
    sets: dict[tuple[int, ...], None] = {}
    for bit in range((experts - 1).bit_length()):
        for half in (0, 1):
            numbers = [number for number in range(experts) if number >> bit & 1 == half]
            for first in range(0, len(numbers), largest):
                sets[tuple(numbers[first : first + largest])] = None
    return list(sets)


def token_shape(
    tokens: ir.Value, hidden: int, rows: int, *, last: bool = False
) -> tuple[list[int], dict[str, int]]:
    """A shape for tokens with about so many rows, and what the symbols in it stand for.

    Args:
        tokens: `[..., H]`; of an unknown rank, `[T, H]` is taken.
        hidden: H.
        rows: How many rows there are at least, if the shape leaves it open.
        last: Whether the last dimension that is open becomes long, the sequence; else the first one.
    """
    dims: list[Any] = [ir.SymbolicDim("T"), hidden] if tokens.shape is None else [*tokens.shape]
    named = [dim if isinstance(dim, int) else _symbol(dim, place) for place, dim in enumerate(dims)]
    symbols = [sorted(dim.free_symbols()) for dim in named if not isinstance(dim, int)]
    names = list(dict.fromkeys(name for of_dim in symbols for name in of_dim))
    width = named[-1]
    if not isinstance(width, int):
        names = [name for name in names if name not in width.free_symbols()] or names
    sizes = dict.fromkeys(names, OTHER_SIZE)
    if not isinstance(width, int):
        sizes |= dict.fromkeys(width.free_symbols(), hidden)
    if names:
        sizes[names[-1 if last else 0]] = -(-rows // OTHER_SIZE ** (len(names) - 1))
    shape = []
    for dim in named:
        size = dim if isinstance(dim, int) else dim.evaluate(sizes)
        shape.append(size if isinstance(size, int) else OTHER_SIZE)
    return shape, sizes


def _symbol(dim: ir.SymbolicDim, place: int) -> ir.SymbolicDim:
    """A dimension as it is, or one of its own where it has no name, or one that is no formula."""
    try:
        dim.free_symbols()
    except ValueError:
        return ir.SymbolicDim(f"open_{place}")
    return ir.SymbolicDim(f"open_{place}") if dim.value is None else dim
