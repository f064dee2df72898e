"""The logits of a live transformers model, as `hetc.likelihood` measures them."""

from __future__ import annotations

import numpy as np
import torch
from transformers import PreTrainedModel

from hetc.likelihood import Forward

__all__ = ["model_forward"]


def model_forward(model: PreTrainedModel) -> Forward:
    """The model as it is now, with whatever plan is applied to it."""

    def forward(tokens: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            ids = torch.from_numpy(tokens).to(model.device)
            logits: np.ndarray = model(ids, use_cache=False).logits.float().cpu().numpy()
        return logits

    return forward
