"""How likely a model finds given tokens: what losses, perplexities and choices between texts are made of.

A bundle's session and a live torch model are measured alike.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from hetc.base.errors import InvalidInputError
from hetc.model.inputs import first_step, prompt_shape
from hetc.model.prediction import Predict
from hetc.runtimes.onnxruntime.run_model import run_model

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "Forward",
    "mean_loss",
    "predict_tokens",
    "session_forward",
    "session_predict",
    "token_losses",
]

Forward: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Token ids `[batch, sequence]`, int64, to logits `[batch, sequence, vocabulary]`, float32."""


def session_forward(session: onnxruntime.InferenceSession, folder: Path | None = None) -> Forward:
    """The logits of an opened language model, from a prefill of each row.

    Args:
        session: The model.
        folder: Where its `genai_config.json` may lie.

    Raises:
        InvalidInputError: The model has no `input_ids` or no `logits`. From the function, for tokens that it
            can't run on.
    """
    names = {value.name for value in session.get_inputs()} | {value.name for value in session.get_outputs()}
    for name in ("input_ids", "logits"):
        if name not in names:
            raise InvalidInputError(f"the model has no {name!r}; only a language model has a likelihood")

    def forward(tokens: np.ndarray) -> np.ndarray:
        rows, _ = prompt_shape(session, *tokens.shape)
        parts = []
        for start in range(0, len(tokens), rows):
            part = tokens[start : start + rows]
            (logits,) = run_model(session, ["logits"], first_step(session, part, folder))
            parts.append(logits.reshape(*part.shape, -1).astype(np.float32, copy=False))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return forward


def session_predict(session: onnxruntime.InferenceSession, folder: Path | None = None) -> Predict:
    """`predict_tokens` on an opened language model; arguments and errors as for `session_forward`."""
    return partial(predict_tokens, session_forward(session, folder))


def predict_tokens(forward: Forward, windows: np.ndarray, *, batch: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """How well each token is foretold by those before it in its window.

    Args:
        forward: The model.
        windows: Token ids `[windows, sequence]`.
        batch: Windows at a time; the answer doesn't depend on it.

    Returns:
        -log p(token) in nats, float64, and whether the token was the likeliest, both
        `[windows, sequence - 1]`: the first token of a window has nothing before it.
    """
    losses, hits = [], []
    for start in range(0, len(windows), batch):
        tokens = windows[start : start + batch].astype(np.int64)
        logits, following = forward(tokens)[:, :-1].astype(np.float64), tokens[:, 1:]
        highest = logits.max(-1)
        normal = highest + np.log(np.exp(logits - highest[..., None]).sum(-1))
        losses.append(normal - np.take_along_axis(logits, following[..., None], -1)[..., 0])
        hits.append(logits.argmax(-1) == following)
    return np.concatenate(losses), np.concatenate(hits)


def token_losses(forward: Forward, windows: np.ndarray, *, batch: int = 8) -> np.ndarray:
    """The losses of `predict_tokens`."""
    return predict_tokens(forward, windows, batch=batch)[0]


def mean_loss(forward: Forward, windows: np.ndarray) -> float:
    """Mean of `token_losses`: nats per token; its exponential is the perplexity."""
    return float(token_losses(forward, windows).mean())
