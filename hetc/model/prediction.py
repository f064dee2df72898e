"""The two things that are asked of a language model, whoever computes it: a session or a live torch model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

__all__ = ["Generate", "Predict"]

Predict: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Token ids `[windows, sequence]` to the loss of each token after the first of its window, in nats, float64,
and to whether it was the likeliest, both `[windows, sequence - 1]`. Logits need not leave the device that
computes them."""

Generate: TypeAlias = Callable[[list[int], int], Iterator[int]]
"""Tokens, and the most that may follow them, to the most likely continuation."""
