"""Scores in rounds: one order, scored again when others have left."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hetc.passes.analysis.order_neurons import score_in_rounds

FIRST = {"a": np.array([8.0, 6.0, 1.0, 0.5]), "b": np.array([7.0, 2.0, 1.5, 0.25])}


def test_without_dependence_the_order_is_that_of_the_scores() -> None:
    found = score_in_rounds(lambda digital: FIRST, (0.25, 0.5))
    for unit, scores in FIRST.items():
        np.testing.assert_array_equal(found[unit], scores)


def test_who_leaves_changes_the_scores_of_those_that_stay() -> None:
    seen: list[int] = []

    def score(digital: Mapping[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.float64]]:
        seen.append(sum(int(mask.sum()) for mask in digital.values()))
        # Once a's first neuron is digital, its second costs next to nothing and its third very much.
        later = FIRST["a"] if not digital or not digital["a"][0] else np.array([9.0, 0.1, 100.0, 0.5])
        return {"a": later, "b": FIRST["b"]}

    found = score_in_rounds(score, (0.25, 0.5))
    assert seen == [0, 2, 4]
    order = np.argsort(-np.concatenate([found["a"], found["b"]]), kind="stable").tolist()
    assert order[:3] == [0, 4, 2]  # a's first, b's first, then a's third
    assert order.index(1) > order.index(5)
    assert found["a"][2] <= found["b"][0]


def test_negative_and_missing_scores() -> None:
    found = score_in_rounds(lambda digital: {"a": np.array([-1.0, -3.0, -2.0])}, (0.5,))
    assert np.argsort(-found["a"]).tolist() == [0, 2, 1]
    assert score_in_rounds(lambda digital: {}) == {}
