"""What a plan runs on: its bundle in ONNX Runtime, or the checkpoint that it was made for in torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hetc.bundle import Bundle
from hetc.errors import UsageError
from hetc.generate import Generate, end_tokens, generate_tokens
from hetc.likelihood import Predict, session_predict
from hetc.plan import Plan

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
    checkpoint: Path | None = None,
    device: str = "cpu",
    *,
    threads: int | None = None,
    **choices: Any,
) -> Iterator[Running]:
    """Opens a model with a plan applied, for as long as the context lasts.

    Args:
        target: A bundle; or a plan, which needs the checkpoint.
        checkpoint: Folder of the Hugging Face checkpoint that the plan's model was exported from.
        device: Where torch computes a checkpoint.
        threads: Threads of a bundle's session; None leaves it to ONNX Runtime.
        choices: `mode`, `seed`, `digital_frac`, `noise_scale`, `drift_time`, `read_seed`, `store`, as for
            `Bundle.session` and `hetc.runtimes.torch.apply.apply_plan`.

    Raises:
        UsageError: A plan without a checkpoint, or a value out of range.
        InvalidInputError: A checkpoint that isn't the plan's.
        RuntimeMissingError: The library or ONNX Runtime is missing or too old.
    """
    if checkpoint is None:
        if isinstance(target, Plan):
            raise UsageError("a plan alone can't run: give a bundle, or the plan's checkpoint as well")
        session = target.session(threads=threads, **choices)
        generate = partial(generate_tokens, session, end=end_tokens(target.path))
        yield Running(session_predict(session), generate, target.path)
        return
    from hetc.runtimes.torch.apply import apply_plan
    from hetc.runtimes.torch.forward import model_generate, model_predict, open_model

    model = open_model(checkpoint, device)
    with apply_plan(model, target if isinstance(target, Plan) else target.plan, **choices):
        yield Running(model_predict(model), model_generate(model), checkpoint)
