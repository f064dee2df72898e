"""Live transformers models, measured as bundles are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from transformers import PreTrainedModel

from hetc.base.errors import InvalidInputError
from hetc.huggingface.cache import cache_argument, empty_cache
from hetc.model.generation_config import CONFIG
from hetc.model.prediction import Generate, Predict
from hetc.model.tokens import check_vocabulary

__all__ = ["model_generate", "model_predict"]

ROWS = 1024
"""Rows of logits that are looked at together."""


def model_predict(model: PreTrainedModel, *, batch: int = 8) -> Predict:
    """The model as it is now, with whatever plan is applied to it, measured as sessions are."""

    def predict(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        losses, hits = [], []
        with torch.inference_mode():
            for start in range(0, len(windows), batch):
                tokens = torch.from_numpy(windows[start : start + batch].astype(np.int64)).to(model.device)
                loss, hit = _measure(model(tokens, use_cache=False).logits, tokens)
                losses.append(loss.double().cpu().numpy())
                hits.append(hit.cpu().numpy())
        return np.concatenate(losses), np.concatenate(hits)

    return predict


def _measure(logits: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and hits `[windows, window - 1]` of logits `[windows, window, V]`, in float32, few rows at once.

    All at once they would take more memory than the model's own last layer.
    """
    following = tokens[:, 1:]
    windows, length = following.shape
    loss = torch.empty(windows, length, dtype=torch.float32, device=logits.device)
    hit = torch.empty(windows, length, dtype=torch.bool, device=logits.device)
    for window in range(windows):
        for start in range(0, length, ROWS):
            rows = slice(start, min(start + ROWS, length))
            part, wanted = logits[window, rows].float(), following[window, rows]
            loss[window, rows] = torch.nn.functional.cross_entropy(part, wanted, reduction="none")
            hit[window, rows] = part.argmax(-1) == wanted
    return loss, hit


def model_generate(
    model: PreTrainedModel, end: frozenset[int] = frozenset(), *, longest: int | None = None
) -> Generate:
    """Its most likely continuations, with whatever plan is applied to it, through transformers' cache.

    Args:
        model: A causal language model.
        end: The tokens that end a text.
        longest: How many tokens a prompt may have; None for any number.
    """

    def generate(tokens: list[int], most: int) -> Iterator[int]:
        check_vocabulary(np.array(tokens), model.config.get_text_config().vocab_size, "the prompt")
        if longest is not None and len(tokens) > longest:
            raise InvalidInputError(
                f"{len(tokens)} tokens in a row are more than the {longest} that {CONFIG} gives as the "
                "model's context; take a shorter prompt"
            )
        ids = torch.tensor([tokens], device=model.device)
        past = {cache_argument(model): empty_cache(model.config)}
        for _ in range(most):
            with torch.inference_mode():
                ids = model(ids, **past, use_cache=True).logits[:, -1:].argmax(-1)
            token = int(ids)
            if token in end:
                return
            yield token

    return generate
