"""Live transformers models, measured as bundles are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import signature

import numpy as np
import torch
from transformers import PreTrainedModel

from hetc.base.errors import InvalidInputError
from hetc.huggingface.cache import cache_argument, empty_cache
from hetc.huggingface.live.device_memory import fitting_tokens
from hetc.model.batch_limit import BatchLimit, BatchSize
from hetc.model.generation_config import CONFIG
from hetc.model.prediction import Generate, Predict
from hetc.model.tokens import check_vocabulary

__all__ = ["model_generate", "model_predict"]

ROWS = 1024
"""Rows of logits that are looked at together."""


def model_predict(model: PreTrainedModel, batch: BatchSize = "auto") -> Predict:
    """The model as it is now, with whatever plan is applied to it, measured as sessions are.

    Args:
        model: The model.
        batch: Texts at a time. Where that is more than a GPU has memory for, it is halved until it fits.
    """
    return ModelPredict(model, BatchLimit.of(batch, fitting_tokens(model)))


@dataclass(frozen=True)
class ModelPredict:
    """`Predict` of a live model.

    Attributes:
        model: The model.
        limit: How much is run at a time; falls where memory runs out.
    """

    model: PreTrainedModel
    limit: BatchLimit

    def __call__(self, windows: np.ndarray, shared: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """As `Predict` says.

        Raises:
            RuntimeMissingError: The device's memory can't hold a single window.
        """
        losses, hits, start = [], [], 0
        while start < len(windows):
            part = windows[start : start + self.limit.rows(windows.shape[1])]
            found = self._run(part, shared)
            if found is None:
                # Only now, out of the error's reach, are the tensors of the attempt free.
                torch.cuda.empty_cache()
                self.limit.halve(*part.shape)
                continue
            losses.append(found[0])
            hits.append(found[1])
            start += len(part)
        return np.concatenate(losses), np.concatenate(hits)

    @torch.inference_mode()
    def _run(self, windows: np.ndarray, shared: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Losses and hits of windows that are run together; None where memory ran out."""
        try:
            tokens = torch.from_numpy(windows.astype(np.int64)).to(_input_device(self.model))
            logits = _end_logits(self.model, tokens, shared)
            loss, hit = _measure(logits, tokens[:, shared:].to(logits.device))
            return loss.double().cpu().numpy(), hit.cpu().numpy()
        except torch.OutOfMemoryError:
            return None


def _end_logits(model: PreTrainedModel, tokens: torch.Tensor, shared: int) -> torch.Tensor:
    """Logits of all but the first `shared` tokens; those are run once for all rows that begin with them."""
    logits: torch.Tensor
    if not shared:
        logits = model(tokens, use_cache=False).logits
        return logits
    beginnings, rows = torch.unique(tokens[:, :shared], dim=0, return_inverse=True)
    cache = empty_cache(model.config)
    past = {cache_argument(model): cache, "use_cache": True}
    # Of the beginnings no logits are asked; one row of them is the least that the head computes.
    fewest = {"logits_to_keep": 1} if "logits_to_keep" in signature(model.forward).parameters else {}
    model(beginnings, **past, **fewest)
    cache.reorder_cache(rows)
    logits = model(tokens[:, shared:], **past).logits
    return logits


def _input_device(model: PreTrainedModel) -> torch.device:
    """Where tokens go; accelerate takes them further where it keeps the embedding elsewhere."""
    device: torch.device = model.device
    return torch.device("cpu") if device.type == "meta" else device


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
        ids = torch.tensor([tokens], device=_input_device(model))
        past = {cache_argument(model): empty_cache(model.config)}
        for _ in range(most):
            with torch.inference_mode():
                ids = model(ids, **past, use_cache=True).logits[:, -1:].argmax(-1)
            token = int(ids)
            if token in end:
                return
            yield token

    return generate
