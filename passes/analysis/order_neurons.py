"""Scores of neurons that are taken again while neurons leave the crossbars.

A neuron that is digital lowers the weight scale, and with it the noise, of those that stay. So a score that
sees the device is taken anew after each round of placing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["ROUNDS", "score_in_rounds"]

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

ROUNDS = (1 / 32, 1 / 8, 1 / 2)
"""Shares of the neurons at which scores are taken again."""

BELOW = 1 - 1e-9


def score_in_rounds(
    score: Callable[[Mapping[str, Mask]], Mapping[str, Float64]], rounds: tuple[float, ...] = ROUNDS
) -> dict[str, Float64]:
    """The score of each neuron at the time when it becomes digital.

    In each round the highest scores of all units become digital, up to the round's share of the neurons; the
    rest is scored again. Scores of a round are scaled down, by one factor, to below the lowest that was
    placed before, so that one order holds all rounds.

    Args:
        score: Takes what is digital by unit id, `[neurons]`; gives the scores, of which those of digital
            neurons are not looked at.
        rounds: Ascending shares of the neurons.

    Returns:
        By unit id, `[neurons]`.
    """
    first = score({})
    if not first:
        return {}
    ends = np.cumsum([len(one) for one in first.values()])
    total = int(ends[-1])
    final, digital = np.zeros(total), np.zeros(total, bool)
    found, limit = first, np.inf
    for share in (*rounds, 1.0):
        numbers = np.concatenate(list(found.values()))
        left = np.flatnonzero(~digital)
        if not len(left):
            break
        highest = numbers[left].max()
        factor = min(1.0, BELOW * limit / highest) if highest > 0 else 1.0
        order = left[np.argsort(-numbers[left], kind="stable")]
        placed = order[: max(0, round(share * total) - int(digital.sum()))]
        final[placed] = numbers[placed] * factor
        digital[placed] = True
        limit = final[placed].min() if len(placed) else limit
        if share < 1:
            found = score(dict(zip(first, np.split(digital, ends[:-1]), strict=True)))
    return dict(zip(first, np.split(final, ends[:-1]), strict=True))
