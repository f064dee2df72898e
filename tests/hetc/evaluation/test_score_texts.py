"""Texts are scored alike, in the order asked, whatever runs together and is shared."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from hetc.evaluation.score_texts import Text, score_texts
from hetc.model.batch_limit import BatchLimit

RANDOM = np.random.default_rng(0)


def tokens(count: int) -> list[int]:
    return RANDOM.integers(1, 50, count).tolist()


def questions() -> list[Text]:
    """Choices of several questions, in no order; texts that share nothing; one with nothing before it."""
    texts = [Text(tokens(length), length - 1) for length in (5, 60)]
    for length, choices in ((40, 4), (31, 2), (38, 5), (1, 3)):
        context = tokens(length)
        texts += [Text(context + tokens(count), count) for count in range(1, choices + 1)]
    return [texts[index] for index in RANDOM.permutation(len(texts))] + [Text(tokens(7), 9)]


@dataclass
class Stub:
    """A model whose losses depend on all that came before, and which notes what it ran."""

    limit: BatchLimit
    fault: str = ""
    runs: list[tuple[tuple[int, ...], int]] = field(default_factory=list)

    def __call__(self, windows: np.ndarray, shared: int = 0) -> tuple[np.ndarray, np.ndarray]:
        if shared and self.fault == "refuses":
            raise ValueError("no cache")
        self.runs.append((windows.shape, shared))
        past = windows.cumsum(1)
        if shared and self.fault == "forgets":
            past -= past[:, shared - 1 : shared]
        losses = (past[:, :-1] * 31 + windows[:, 1:] * 17) % 101 / 10
        hits = (past[:, :-1] + windows[:, 1:]) % 7 != 0
        return losses[:, shared:], hits[:, shared:]


@pytest.mark.parametrize("fault", ["", "forgets", "refuses"])
def test_answers_are_those_of_each_text_alone(fault: str) -> None:
    texts = questions()
    expected = [answer for text in texts for answer in score_texts(Stub(BatchLimit.of(1)), [text], padding=0)]
    for limit in (BatchLimit.of(3), BatchLimit.of(8), BatchLimit.of("auto", 400)):
        model = Stub(limit, fault)
        assert score_texts(model, texts, padding=0) == expected
        lengths = [length for (_, length), shared in model.runs]
        assert lengths[0] == max(lengths), "longest first"
        sharing = [shared for _, shared in model.runs if shared]
        assert len(sharing) > 2 if not fault else len(sharing) <= 1


def test_a_context_is_run_once() -> None:
    context = tokens(100)
    texts = [Text([*context, token], 1) for token in (1, 2, 3, 4)]
    model = Stub(BatchLimit.of("auto"))
    score_texts(model, texts, padding=0)
    trial, whole, run = model.runs
    assert (trial, whole) == (((2, 101), 99), ((2, 101), 0))
    assert run == ((4, 101), 99)


def test_no_batch_is_above_the_limit() -> None:
    model = Stub(BatchLimit.of("auto", 200))
    score_texts(model, questions(), padding=0)
    assert all(rows * length <= 200 for (rows, length), _ in model.runs)
    assert any(rows > 1 for (rows, _), _ in model.runs)
