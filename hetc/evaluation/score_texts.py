"""How likely texts are after what stands before them, run together where they begin alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hetc.base.errors import InvalidInputError
from hetc.base.progress import progress
from hetc.model.batch_limit import BatchLimit
from hetc.model.prediction import Predict

__all__ = ["Text", "score_texts"]

RUN = 1 / 16
"""What a run costs besides its tokens, as a share of the tokens of a full batch: as much may padding, and
sharing less, cost before texts are run apart; and as much must sharing save."""
CLOSE = 0.05
"""Nats that the losses of half of the tokens stay within if a cache is right. Rounding moves them by 1e-6,
in bfloat16 by 0.01; with a wrong cache they differ by nats."""


@dataclass(frozen=True)
class Text:
    """A text of which the last tokens are scored.

    Attributes:
        tokens: All of its tokens.
        scored: How many of them count; the first of a text can't.
    """

    tokens: Sequence[int]
    scored: int

    @property
    def context(self) -> tuple[int, ...]:
        """What stands before the tokens that count."""
        return tuple(self.tokens[: max(0, len(self.tokens) - self.scored)])


def score_texts(predict: Predict, texts: Sequence[Text], *, padding: int) -> list[tuple[float, bool]]:
    """Log probability of each text's last tokens, and whether they are what greedy decoding gives.

    The answers don't depend on what is run together. Texts with one context (the choices of a question) have
    that run once, if a trial on two of them shows that the model goes on from its cache as it should.

    Args:
        predict: The model.
        texts: The texts.
        padding: A token to pad with. It comes after, where no token looks.

    Returns:
        For each text its answer, in nats.

    Raises:
        InvalidInputError: The model is an encoder-decoder.
    """
    answers: list[tuple[float, bool]] = [(0.0, True)] * len(texts)
    trusted: bool | None = None
    with progress("evaluating", len(texts)) as advance:
        for part, shared in _batches(texts, predict.limit):
            windows = np.full((len(part), max(len(texts[index].tokens) for index in part)), padding, np.int64)
            for row, index in enumerate(part):
                windows[row, : len(texts[index].tokens)] = texts[index].tokens
            if shared and trusted is None:
                trusted = _goes_on(predict, windows, shared)
            shared = shared if trusted else 0
            losses, hits = predict(windows, shared)
            if losses.shape[1] != windows.shape[1] - 1 - shared:
                raise InvalidInputError(
                    "an encoder-decoder foretells half of a text, so that it can't score tasks' answers; "
                    "`hetc tune --data` and sweeps with data measure its loss"
                )
            for row, index in enumerate(part):
                end = len(texts[index].tokens) - 1 - shared
                scored = slice(max(0, end - texts[index].scored), end)
                answers[index] = (-float(losses[row, scored].sum()), bool(hits[row, scored].all()))
            advance(len(part))
    return answers


def _batches(texts: Sequence[Text], limit: BatchLimit) -> Iterator[tuple[list[int], int]]:
    """Texts to run together, longest first so that a lack of memory shows at once; and what they share.

    Beginnings are shared up to the shortest context's last token but one, from which the first token that
    counts is foretold: so they need no padding, which a cache would keep.
    """
    questions: dict[object, list[int]] = defaultdict(list)
    for index in sorted(range(len(texts)), key=lambda index: -len(texts[index].tokens)):
        context = texts[index].context
        questions[context if len(context) > 1 else index].append(index)
    waiting = [*questions.values()][::-1]
    while waiting:
        first = waiting.pop()
        length = len(texts[first[0]].tokens)
        rows = limit.rows(length)
        run = RUN * rows * length
        together = [first[:rows]]
        if len(first) > rows:
            waiting.append(first[rows:])
        while waiting and sum(map(len, together)) + len(waiting[-1]) <= rows:
            apart = _tokens(texts, together) + _tokens(texts, waiting[-1:])
            if _tokens(texts, [*together, waiting[-1]]) > apart + run:
                break
            together.append(waiting.pop())
        part = [index for question in together for index in question]
        saved = len(part) * max(len(texts[index].tokens) for index in part) - _tokens(texts, together)
        yield part, _shared(texts, together) if saved > run else 0


def _shared(texts: Sequence[Text], questions: Sequence[Sequence[int]]) -> int:
    """How many tokens of their contexts some questions can have run once."""
    return max(0, min(len(texts[question[0]].context) for question in questions) - 1)


def _tokens(texts: Sequence[Text], questions: Sequence[Sequence[int]]) -> int:
    """Tokens that are run for some questions together, padding included."""
    shared = _shared(texts, questions)
    length = max(len(texts[index].tokens) for question in questions for index in question)
    return len(questions) * shared + sum(map(len, questions)) * (length - shared)


def _goes_on(predict: Predict, windows: np.ndarray, shared: int) -> bool:
    """Whether a model foretells as well from the cache of a shared beginning as from the whole text.

    Tried, not known: some models of transformers refuse a cache, and Jamba for one forgets the state that it
    has whenever more than one token follows.
    """
    _, first, count = np.unique(windows[:, :shared], axis=0, return_index=True, return_counts=True)
    beginning = windows[first[count.argmax()], :shared]
    two = windows[(windows[:, :shared] == beginning).all(1)][:2]
    try:
        losses, _ = predict(two, shared)
    except Exception:  # whatever a model's code makes of a cache that it doesn't know
        return False
    whole, _ = predict(two)
    return bool(np.median(np.abs(losses - whole[:, shared:])) < CLOSE)
