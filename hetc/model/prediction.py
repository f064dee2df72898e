"""The two things that are asked of a language model, whoever computes it: a session or a live torch model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

import numpy as np

from hetc.model.batch_limit import BatchLimit

__all__ = ["Generate", "Predict"]


class Predict(Protocol):
    """How well a model foretells tokens. Logits need not leave the device that computes them."""

    @property
    def limit(self) -> BatchLimit:
        """How much is run at a time."""
        ...

    def __call__(self, windows: np.ndarray, shared: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The loss of each token after the first of its window, in nats, and whether it was the likeliest.

        Args:
            windows: Token ids `[windows, sequence]`.
            shared: Leaves out the losses of the first so many. Where windows begin alike up to there, that
                is run once if the model's cache allows it.

        Returns:
            float64 and bool, both `[windows, sequence - 1 - shared]`. An encoder-decoder reads the first half
            of each window and foretells the second: `[windows, sequence - sequence // 2]`.
        """
        ...


Generate: TypeAlias = Callable[[list[int], int], Iterator[int]]
"""Tokens, and the most that may follow them, to the most likely continuation."""
