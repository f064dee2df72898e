"""Opens a checkpoint as a live transformers model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import EllipsisType
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

import hetc.huggingface.deepseek  # noqa: F401 - registers the family
from hetc.base.errors import HetcError, InvalidInputError, RuntimeMissingError
from hetc.huggingface.checkpoint import resolve_source
from hetc.huggingface.checkpoint_kind import require_checkpoint
from hetc.huggingface.experts import require_known_experts
from hetc.huggingface.quantised.packed_tensor import PackedTensor
from hetc.huggingface.quantised.reading import checkpoint_tensors, quantisation
from hetc.runtimes.torch.support import device_errors

__all__ = ["open_model"]

AUTO = "auto"


def open_model(
    source: str | Path, device: str = "cpu", dtype: torch.dtype | str = torch.float32
) -> PreTrainedModel:
    """A checkpoint's model, in evaluation mode; the weights of a quantised one are the values they mean.

    Args:
        source: Folder of the checkpoint, or a hub id.
        device: Where it computes; `auto` for all GPUs, and what they have no room for on the host, as
            accelerate spreads it.
        dtype: Type of its weights; `auto` for the checkpoint's.

    Raises:
        UsageError: No such checkpoint, or a device that torch doesn't have here.
        RuntimeMissingError: `auto` without accelerate.
        InvalidInputError: Not a causal language model, a quantisation that hetc doesn't read, or experts
            outside of transformers' interface.
    """
    where = None if device == AUTO else _device(device)
    if where is None and find_spec("accelerate") is None:
        raise RuntimeMissingError(
            "device 'auto' needs accelerate, which is not installed; run `pip install accelerate`"
        )
    folder = resolve_source(source)
    require_checkpoint(folder)
    spread = None if where else AUTO
    try:
        model = _load(folder, dtype=dtype, device_map=spread)
    except HetcError:
        raise
    except Exception as error:  # whatever a family's code makes of values that it doesn't expect
        raise InvalidInputError(f"{folder}: transformers cannot open the model: {error}") from error
    require_known_experts(model, f"{folder}: {model.config.model_type}")
    opened: PreTrainedModel = model.eval() if where is None else model.to(where).eval()
    return opened


def _load(folder: Path, **options: Any) -> Any:
    """A checkpoint's model by transformers; quantised weights are dequantised as `hetc export` does it."""
    if quantisation(folder) is None:
        # The code that some checkpoints bring is not run.
        return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False, **options)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    for part in (config, config.get_text_config()):
        vars(part).pop("quantization_config", None)
    build: Any = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        family = type(build(config))
    found = checkpoint_tensors(folder).items()
    tensors = {name: _Slice(tensor) for name, tensor in found if isinstance(tensor, PackedTensor)}
    return family.from_pretrained(None, config=config, state_dict=tensors, **options)


class _Slice:
    """A tensor that is read when transformers asks for it, as it does of safetensors' slices."""

    def __init__(self, tensor: PackedTensor) -> None:
        self.tensor = tensor

    def __getitem__(self, everything: EllipsisType) -> torch.Tensor:
        return self.tensor.read()

    @property
    def dtype(self) -> torch.dtype:
        """What a checkpoint's type is taken for where it says none itself."""
        return torch.bfloat16


def _device(name: str) -> torch.device:
    """The device of that name, on which a number has been put once."""
    with device_errors(name):
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    return device
