"""How likely a model finds given tokens: what losses, perplexities and choices between texts are made of.

A bundle's session and a live torch model are measured alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from hetc.base.errors import InvalidInputError
from hetc.model.batch_limit import BatchLimit, BatchSize
from hetc.model.generation_config import decoder_start
from hetc.model.inputs import first_step, is_encoder_decoder, next_step, prompt_shape
from hetc.model.prediction import Predict
from hetc.runtimes.onnxruntime.run_model import run_model

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "Forward",
    "SessionForward",
    "mean_loss",
    "predict_tokens",
    "session_forward",
    "session_predict",
    "token_losses",
]

Forward: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Token ids `[batch, sequence]`, int64, to logits `[batch, sequence, vocabulary]`, float32."""


class SessionForward(Protocol):
    """A `Forward` that may leave the first `shared` tokens' logits out: `[batch, sequence - shared, V]`."""

    def __call__(self, tokens: np.ndarray, shared: int = 0) -> np.ndarray: ...


def session_forward(session: onnxruntime.InferenceSession, folder: Path | None = None) -> SessionForward:
    """The logits of an opened language model, from a prefill of each row.

    Where rows begin alike, and the model has a cache, the function can run that beginning once: what comes
    out is equal, bit for bit, as far as the runtime multiplies a row alike whatever stands beside it.

    An encoder-decoder reads the first half of each row, and writes the second after its start token. It gives
    the logits of the second half, and of what would follow.

    Args:
        session: The model.
        folder: Where its `genai_config.json` may lie.

    Raises:
        InvalidInputError: The model has no `input_ids` or no `logits`, or nothing says which token an
            encoder-decoder starts with. From the function, for tokens that it can't run on.
    """
    outputs = [value.name for value in session.get_outputs()]
    names = {value.name for value in session.get_inputs()} | set(outputs)
    for name in ("input_ids", "logits"):
        if name not in names:
            raise InvalidInputError(f"the model has no {name!r}; only a language model has a likelihood")
    cached = [name for name in outputs if name.startswith("present.")]
    start = decoder_start(folder) if is_encoder_decoder(session) else None

    def run(tokens: np.ndarray, shared: int) -> np.ndarray:
        if start is not None:
            feeds = _halves(session, tokens, start, folder)
            return run_model(session, ["logits"], feeds)[0]
        if not shared or not cached:
            (logits,) = run_model(session, ["logits"], first_step(session, tokens, folder))
            return logits.reshape(*tokens.shape, -1)[:, shared:]
        beginnings, rows = np.unique(tokens[:, :shared], axis=0, return_inverse=True)
        feeds = first_step(session, beginnings, folder)
        cache = dict(zip(cached, run_model(session, cached, feeds), strict=True))
        ends = tokens[:, shared:]
        (logits,) = run_model(session, ["logits"], next_step(feeds, cache, ends, rows.reshape(-1)))
        return logits.reshape(*ends.shape, -1)

    def forward(tokens: np.ndarray, shared: int = 0) -> np.ndarray:
        rows, _ = prompt_shape(session, *tokens.shape)
        parts = [run(tokens[start : start + rows], shared) for start in range(0, len(tokens), rows)]
        logits = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return logits.astype(np.float32, copy=False)

    return forward


def _halves(
    session: onnxruntime.InferenceSession, tokens: np.ndarray, start: int, folder: Path | None
) -> dict[str, np.ndarray]:
    """What an encoder-decoder is fed to foretell the second half of each row from the first."""
    half = tokens.shape[1] // 2
    if not half:
        raise InvalidInputError("an encoder-decoder reads half of a window; give windows of 2 tokens or more")
    written = np.insert(tokens[:, half:], 0, start, axis=1)
    return first_step(session, tokens[:, :half], folder, written=written)


@dataclass(frozen=True)
class SessionPredict:
    """`Predict` of an opened language model.

    Attributes:
        forward: Its logits.
        limit: How much is run at a time.
    """

    forward: SessionForward
    limit: BatchLimit

    def __call__(self, windows: np.ndarray, shared: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """As `Predict` says."""
        return predict_tokens(partial(self.forward, shared=shared), windows, self.limit)


def session_predict(
    session: onnxruntime.InferenceSession, folder: Path | None = None, batch: BatchSize = "auto"
) -> Predict:
    """How well an opened language model foretells tokens; else as for `session_forward`.

    Args:
        session, folder: As for `session_forward`.
        batch: Texts at a time.
    """
    return SessionPredict(session_forward(session, folder), BatchLimit.of(batch))


def predict_tokens(forward: Forward, windows: np.ndarray, limit: BatchLimit) -> tuple[np.ndarray, np.ndarray]:
    """How well each token is foretold by those before it in its window.

    Args:
        forward: The model. It may give the logits of a window's end alone.
        windows: Token ids `[windows, sequence]`.
        limit: How much to run at a time; the answer doesn't depend on it.

    Returns:
        -log p(token) in nats, float64, and whether the token was the likeliest, both `[windows, logits - 1]`,
        logits being `sequence` or fewer: the first token of a window has nothing before it.
    """
    losses, hits = [], []
    rows = limit.rows(windows.shape[1])
    for start in range(0, len(windows), rows):
        tokens = windows[start : start + rows].astype(np.int64)
        found = forward(tokens)
        logits = found[:, :-1].astype(np.float64)
        following = tokens[:, tokens.shape[1] - logits.shape[1] :]
        highest = logits.max(-1)
        normal = highest + np.log(np.exp(logits - highest[..., None]).sum(-1))
        losses.append(normal - np.take_along_axis(logits, following[..., None], -1)[..., 0])
        hits.append(logits.argmax(-1) == following)
    return np.concatenate(losses), np.concatenate(hits)


def token_losses(forward: Forward, windows: np.ndarray, *, batch: BatchSize = "auto") -> np.ndarray:
    """The losses of `predict_tokens`, so many windows at a time."""
    return predict_tokens(forward, windows, BatchLimit.of(batch))[0]


def mean_loss(forward: Forward, windows: np.ndarray) -> float:
    """Mean of `token_losses`: nats per token; its exponential is the perplexity."""
    return float(token_losses(forward, windows).mean())
