"""Inputs for a model, made from what it declares: the names of a cached language model, or shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["first_step", "next_step"]

_TYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
}


def first_step(session: onnxruntime.InferenceSession, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs of a prefill: `tokens` `[batch, sequence]`, everything attended, an empty cache.

    A model without `input_ids` gets standard normal numbers (seed 0) in the shapes that it declares, with
    2 for every free dimension.
    """
    feeds: dict[str, np.ndarray] = {}
    batch, sequence = tokens.shape
    random = np.random.default_rng(0)
    for value in session.get_inputs():
        kind = _TYPES[value.type]
        if value.name == "input_ids":
            feeds[value.name] = tokens.astype(kind)
        elif value.name == "attention_mask":
            feeds[value.name] = np.ones((batch, sequence), kind)
        elif value.name == "position_ids":
            feeds[value.name] = np.tile(np.arange(sequence, dtype=kind), (batch, 1))
        elif value.name.startswith("past_key_values."):
            # The batch comes first; another free dimension counts the tokens seen, of which there are none.
            sizes = [size if isinstance(size, int) else 0 for size in value.shape[1:]]
            feeds[value.name] = np.zeros((batch, *sizes), kind)
        else:
            shape = [size if isinstance(size, int) else 2 for size in value.shape]
            feeds[value.name] = random.standard_normal(shape).astype(kind)
    return feeds


def next_step(
    feeds: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], tokens: np.ndarray
) -> dict[str, np.ndarray]:
    """Inputs of the step after `feeds` gave `outputs`: `tokens` `[batch, 1]`, the cache carried over."""
    step = {
        name.replace("present.", "past_key_values."): value
        for name, value in outputs.items()
        if name.startswith("present.")
    }
    mask = feeds["attention_mask"]
    step["input_ids"] = tokens
    step["attention_mask"] = np.concatenate([mask, np.ones_like(mask[:, :1])], axis=1)
    if "position_ids" in feeds:
        step["position_ids"] = feeds["position_ids"][:, -1:] + 1
    return step
