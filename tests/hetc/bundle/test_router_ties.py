"""Which choices of experts are ties: only those between scores that are as good as equal."""

from __future__ import annotations

import numpy as np

from hetc.bundle.router_ties import ties

SCORES = np.array([[0.5, 0.3, 0.2999, 0.1]] * 4 + [[0.5, -np.inf, 0.2999, 0.3]], np.float32)


def test_only_close_scores_are_ties() -> None:
    chosen = np.array([[0, 1]] * 4 + [[0, 3]])
    other = np.array([[0, 1], [1, 0], [2, 0], [0, 3], [0, 2]])
    found = ties(SCORES, chosen, other, 1e-3)
    #          equal, in another order, a tie, another expert, a tie beside a group that can't be chosen
    assert found.tolist() == [False, False, True, False, True]
    assert not ties(SCORES, chosen, other, 1e-5).any()


def test_choices_of_any_shape() -> None:
    scores = np.tile(SCORES[0], (2, 3, 1)).astype(np.float16)
    chosen = np.tile([0, 1], (2, 3, 1))
    other = chosen.copy()
    other[1, 2] = [0, 2]
    assert ties(scores, chosen, other, 2.0**-8).tolist() == [False] * 5 + [True]
