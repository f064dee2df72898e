"""What a plan runs on: its bundle in ONNX Runtime, or the checkpoint that it was made for in torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hetc.base.errors import UsageError
from hetc.base.extras import needs
from hetc.bundle.bundle import Bundle
from hetc.evaluation.generate import generate_tokens
from hetc.evaluation.likelihood import session_predict
from hetc.huggingface.checkpoint import resolve_source
from hetc.model.batch_limit import BatchSize
from hetc.model.generation_config import context_length, end_tokens
from hetc.model.prediction import Generate, Predict
from hetc.plan.plan import Plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hetc.huggingface.live.programmings import Programmings

__all__ = ["Running", "running"]


@dataclass(frozen=True)
class Running:
    """A language model with a plan applied.

    Attributes:
        predict: How well it foretells tokens.
        generate: Its continuations.
        folder: Where its tokenizer lies.
    """

    predict: Predict
    generate: Generate
    folder: Path


@contextmanager
def running(
    target: Bundle | Plan,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    *,
    threads: int | None = None,
    batch: BatchSize = "auto",
    **choices: Any,
) -> Iterator[Running]:
    """Opens a model with a plan applied, for as long as the context lasts.

    Args:
        target: A bundle; or a plan, which needs the checkpoint.
        checkpoint: The Hugging Face checkpoint that the plan's model was exported from: folder or hub id.
        device: Where torch computes a checkpoint; `auto` for all GPUs, and what they have no room for on the
            host, as accelerate spreads it.
        threads: Threads of a bundle's session; None leaves it to ONNX Runtime.
        batch: Texts at a time; `auto` for as many as fit.
        choices: `mode`, `seed`, `digital_frac`, `noise_scale`, `drift_time`, `read_seed`, `store`,
            `low_memory`, as for `Bundle.session` and `hetc.huggingface.live.apply.apply_plan`.

    Raises:
        UsageError: A plan without a checkpoint, a baked bundle with one, or a value out of range.
        InvalidInputError: A checkpoint that isn't the plan's.
        RuntimeMissingError: The library, ONNX Runtime or transformers is missing or too old.
    """
    if checkpoint is None:
        if isinstance(target, Plan):
            raise UsageError("a plan alone can't run: give a bundle, or the plan's checkpoint as well")
        session = target.session(threads=threads, **choices)
        generate = partial(generate_tokens, session, end=end_tokens(target.path), folder=target.path)
        yield Running(session_predict(session, target.path, batch), generate, target.path)
        return
    if isinstance(target, Bundle) and target.baked is not None:
        raise UsageError(
            f"bundle {target.path} is baked: its noise is in its weights, and a checkpoint has weights of "
            "its own; run it without a checkpoint, or give the bundle that it was made of"
        )
    with needs("export", "running a checkpoint"):
        from hetc.huggingface.live.apply import apply_plan
        from hetc.huggingface.live.forward import model_generate, model_predict

    folder = resolve_source(checkpoint)
    end, longest = end_tokens(folder), context_length(folder)
    model, programmings = _open(folder, device)
    plan = target if isinstance(target, Plan) else target.plan
    with apply_plan(model, plan, programmings=programmings, **choices):
        yield Running(model_predict(model, batch), model_generate(model, end, longest=longest), folder)


@lru_cache(maxsize=1)
def _open(folder: Path, device: str) -> tuple[PreTrainedModel, Programmings]:
    """The model and what is programmed from it, kept until another is asked for.

    A sweep applies one plan after another to it.
    """
    import torch

    from hetc.huggingface.live.live_model import open_model
    from hetc.huggingface.live.programmings import Programmings

    # float32 is what bundles compute; the checkpoint's own type is what a GPU is fast in.
    fast = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    model = open_model(folder, device, "auto" if fast else "float32")
    return model, Programmings()
