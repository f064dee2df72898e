"""Puts the neurons of a model in order: which of them, or which blocks of them, become digital first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["blocks_of", "rank_blocks"]

Float64 = NDArray[np.float64]


def blocks_of(scores: Float64, block: int) -> tuple[NDArray[np.int64], Float64]:
    """Puts a unit's neurons into blocks, in order of their scores.

        >>> import numpy as np
        >>> blocks_of(np.array([1.0, 4.0, 3.0, 0.5, 2.0]), 2)
        (array([1, 0, 0, 2, 1]), array([3.5, 1.5, 0.5]))

    Args:
        scores: `[neurons]`.
        block: Neurons to a block; the last one may have fewer.

    Returns:
        `[neurons]`, the block of each neuron, and the mean score of each block.
    """
    place = np.empty(len(scores), np.int64)
    place[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    number = place // block
    return number, np.bincount(number, scores) / np.bincount(number)


def rank_blocks(
    groups: Mapping[str, object],
    scores: Mapping[str, Float64],
    block: int,
    place: Mapping[str, int],
) -> tuple[dict[str, NDArray[np.int32]], dict[str, int]]:
    """Ranks the blocks of neurons within their groups, highest mean score first.

    Args:
        groups: By unit id, what says which units' neurons compete.
        scores: By unit id, `[neurons]`.
        block: Neurons to a block.
        place: By unit id: units of a lower number come first whatever their scores; 0 where it is missing.

    Returns:
        By unit id, the rank of each neuron's block, and how many blocks its group has.
    """
    members: dict[object, list[str]] = {}
    for unit, group in groups.items():
        members.setdefault(group, []).append(unit)
    ranks: dict[str, NDArray[np.int32]] = {}
    sizes: dict[str, int] = {}
    for units in members.values():
        blocked = [blocks_of(scores[unit], block) for unit in units]
        ranked = _rank([means for _, means in blocked], [place.get(unit, 0) for unit in units])
        total = sum(map(len, ranked))
        for unit, (number, _), rank in zip(units, blocked, ranked, strict=True):
            ranks[unit], sizes[unit] = rank[number], total
    return ranks, sizes


def _rank(scores: Sequence[Float64], places: Sequence[int]) -> list[NDArray[np.int32]]:
    """The rank of every number among all; equal ones in the order in which they come."""
    lengths = [len(one) for one in scores]
    order = np.lexsort((-np.concatenate(scores), np.repeat(places, lengths)))
    ranks = np.empty(len(order), np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    return np.split(ranks, np.cumsum(lengths)[:-1])
