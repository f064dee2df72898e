"""What a budget can move: whole units, or their neurons in blocks, in one order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hetc.passes.analysis.rank_neurons import blocks_of
from hetc.plan.plan import PlannedUnit

__all__ = ["Parts", "order_parts"]


@dataclass(frozen=True)
class Parts:
    """Parts of units in the order in which they become digital.

    Attributes:
        units: All of the plan's units.
        owner: `[parts]`, whose part each one is: an index into `units`.
        size: `[parts]`, how many neurons each has; 1 for a whole unit.
        ranks: By unit id, `[neurons]`: place in the order of the part that each neuron is in.
    """

    units: Sequence[PlannedUnit]
    owner: NDArray[np.int64]
    size: NDArray[np.int64]
    ranks: Mapping[str, NDArray[np.int32]]

    def __len__(self) -> int:
        return len(self.owner)

    def free(self, added: Callable[[PlannedUnit], float]) -> int:
        """How many parts come first because being digital costs them nothing."""
        costs = {index: added(self.units[index]) for index in set(self.owner.tolist())}
        return sum(costs[index] <= 0 for index in self.owner.tolist())

    def placed(self, count: int) -> tuple[PlannedUnit, ...]:
        """The units with the first `count` parts digital and the rest of the parts analog."""
        digital = np.bincount(self.owner[:count], self.size[:count], len(self.units)).astype(int)
        every = np.bincount(self.owner, self.size, len(self.units)).astype(int)
        return tuple(
            unit
            if not parts
            else replace(
                unit,
                target="digital" if moved == parts else "analog",
                digital_neurons=unit.neurons if moved == parts else moved if unit.neurons == parts else 0,
            )
            for unit, moved, parts in zip(self.units, digital.tolist(), every.tolist(), strict=True)
        )


def order_parts(
    units: Sequence[PlannedUnit],
    movable: Callable[[PlannedUnit], bool],
    scores: Mapping[str, float],
    neuron_scores: Mapping[str, NDArray[np.float64]],
    block: int,
    added: Callable[[PlannedUnit], float],
) -> Parts:
    """Puts what can be moved in order: score over the added cost of being digital, highest first.

    Args:
        units: The plan's units.
        movable: Whether a unit may be moved.
        scores: By unit id, of units that move as a whole.
        neuron_scores: By unit id, `[neurons]`, of units whose neurons move by themselves.
        block: How many neurons move together.
        added: What a whole unit costs more when it is digital; 0 or less comes before all else.
    """
    owner, size, gain, score, first = [], [], [], [], 0
    blocks: dict[str, NDArray[np.int64]] = {}
    for index, unit in enumerate(units):
        if not movable(unit):
            continue
        number, means = np.zeros(1, np.int64), np.array([scores.get(unit.id, 0.0)])
        if unit.id in neuron_scores:
            number, means = blocks_of(neuron_scores[unit.id], block)
        sizes = np.bincount(number)
        cost = added(unit) * sizes / sizes.sum()
        owner.append(np.full(len(sizes), index))
        size.append(sizes)
        score.append(means * sizes)
        gain.append(np.where(cost > 0, score[-1] / np.where(cost > 0, cost, 1), np.inf))
        blocks[unit.id] = number + first
        first += len(sizes)
    if not owner:
        return Parts(units, np.zeros(0, np.int64), np.zeros(0, np.int64), {})
    order = np.lexsort((-np.concatenate(score), -np.concatenate(gain)))
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    ranks = {unit: place[numbers] for unit, numbers in blocks.items()}
    return Parts(units, np.concatenate(owner)[order], np.concatenate(size)[order], ranks)
