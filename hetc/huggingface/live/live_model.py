"""Opens a checkpoint as a live transformers model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

import hetc.huggingface.deepseek  # noqa: F401 - registers the family
from hetc.base.errors import InvalidInputError, RuntimeMissingError
from hetc.huggingface.checkpoint import resolve_source
from hetc.huggingface.checkpoint_kind import require_checkpoint
from hetc.huggingface.experts import require_known_experts
from hetc.huggingface.quantised.reading import quantisation
from hetc.runtimes.torch.support import device_errors

__all__ = ["open_model"]

AUTO = "auto"


def open_model(
    source: str | Path, device: str = "cpu", dtype: torch.dtype | str = torch.float32
) -> PreTrainedModel:
    """A checkpoint's model, in evaluation mode.

    Args:
        source: Folder of the checkpoint, or a hub id.
        device: Where it computes; `auto` for all GPUs, and what they have no room for on the host, as
            accelerate spreads it.
        dtype: Type of its weights; `auto` for the checkpoint's.

    Raises:
        UsageError: No such checkpoint, or a device that torch doesn't have here.
        RuntimeMissingError: `auto` without accelerate.
        InvalidInputError: Not a causal language model, a quantised one, or experts outside of transformers'
            interface.
    """
    where = None if device == AUTO else _device(device)
    if where is None and find_spec("accelerate") is None:
        raise RuntimeMissingError(
            "device 'auto' needs accelerate, which is not installed; run `pip install accelerate`"
        )
    folder = resolve_source(source)
    require_checkpoint(folder)
    settings = quantisation(folder)
    if settings is not None:
        raise InvalidInputError(
            f"{folder}: quantised ({settings.values['quant_method']}), and a live model needs real weights; "
            "`hetc export` writes them as an ONNX model, which hetc compile, run and evaluate take"
        )
    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        # The code that some checkpoints bring is not run.
        spread = None if where else AUTO
        model: Any = load(folder, dtype=dtype, trust_remote_code=False, device_map=spread)
    except Exception as error:  # whatever a family's code makes of values that it doesn't expect
        raise InvalidInputError(f"{folder}: transformers cannot open the model: {error}") from error
    require_known_experts(model, f"{folder}: {model.config.model_type}")
    opened: PreTrainedModel = model.eval() if where is None else model.to(where).eval()
    return opened


def _device(name: str) -> torch.device:
    """The device of that name, on which a number has been put once."""
    with device_errors(name):
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    return device
