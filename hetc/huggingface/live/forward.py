"""Live transformers models, measured as bundles are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from transformers import PreTrainedModel

from hetc.huggingface.cache import cache_argument, empty_cache
from hetc.model.prediction import Generate, Predict

__all__ = ["model_generate", "model_predict"]


def model_predict(model: PreTrainedModel, *, batch: int = 8) -> Predict:
    """The model as it is now, with whatever plan is applied to it, measured as sessions are."""

    def predict(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        losses, hits = [], []
        with torch.inference_mode():
            for start in range(0, len(windows), batch):
                tokens = torch.from_numpy(windows[start : start + batch].astype(np.int64)).to(model.device)
                logits, following = model(tokens, use_cache=False).logits[:, :-1].float(), tokens[:, 1:]
                loss = torch.nn.functional.cross_entropy(logits.mT, following, reduction="none")
                losses.append(loss.double().cpu().numpy())
                hits.append((logits.argmax(-1) == following).cpu().numpy())
        return np.concatenate(losses), np.concatenate(hits)

    return predict


def model_generate(model: PreTrainedModel) -> Generate:
    """Its most likely continuations."""
    ends = model.generation_config.eos_token_id if model.generation_config else None
    end = set(ends) if isinstance(ends, list) else {ends}

    def generate(tokens: list[int], most: int) -> Iterator[int]:
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
