"""Generates text with a bundle, or with a plan on its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hetc.base.errors import UsageError
from hetc.base.progress import progress
from hetc.base.text import as_utf8
from hetc.bundle.bundle import Bundle, load_bundle
from hetc.compiler.loading import open_plan
from hetc.evaluation.generate import generate_text
from hetc.evaluation.running import running
from hetc.huggingface.checkpoint import resolve_source
from hetc.model.tokenizer import load_tokenizer
from hetc.operators.words import Mode
from hetc.plan.fractions import FractionLike
from hetc.plan.plan import Plan

__all__ = ["run"]


def run(
    target: str | Path | Bundle | Plan,
    prompt: str,
    *,
    max_new_tokens: int = 64,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    mode: Mode | None = None,
    seed: int | None = None,
    noise_scale: float | None = None,
    digital_frac: FractionLike | None = None,
    threads: int | None = None,
    low_memory: bool = False,
) -> Iterator[str]:
    """Continues a prompt greedily, yielding text as it comes; opens nothing before the first is asked for.

        >>> import hetc
        >>> bundle = hetc.compile("samples/tiny_moe/model.onnx", "speaks.hetc")
        >>> len("".join(hetc.run(bundle, "import", max_new_tokens=8, mode="exact"))) > 8
        True

    Args:
        target: A bundle; or a plan, with its checkpoint; or the path of one.
        prompt: The text to continue.
        max_new_tokens: Where to stop, unless the model ends the text.
        checkpoint: Run the plan on this folder or hub id, in torch.
        device: Where torch computes a checkpoint.
        mode: `exact`, `converters` or `noisy`; None for noisy.
        seed: Programming seed; None for the plan's.
        noise_scale: Factor c on the programming noise; None for the profile's.
        digital_frac: A larger digital fraction.
        threads: Threads of a bundle's session; None leaves it to ONNX Runtime.
        low_memory: Keep no weights twice, as for `Bundle.session` and a plan on a live model.

    Raises:
        UsageError: A plan without a checkpoint, a baked bundle with one, or a value out of range.
        InvalidInputError: A model without a tokenizer or KV cache, a prompt without tokens, or a checkpoint
            that isn't the plan's.
        RuntimeMissingError: The library, ONNX Runtime or transformers is missing or too old.
    """
    prompt = as_utf8(prompt)
    opened = target if isinstance(target, (Bundle, Plan)) else _open(target, checkpoint is None)
    if checkpoint is not None:
        source = folder = resolve_source(checkpoint)
    elif isinstance(opened, Bundle):
        opened.require_tokens("run")
        source, folder = None, opened.path
    else:
        raise UsageError("a plan alone can't run: give a bundle, or the plan's checkpoint as well")
    tokenizer = load_tokenizer(folder)
    choices: dict[str, Any] = {
        "mode": mode,
        "seed": seed,
        "noise_scale": noise_scale,
        "digital_frac": digital_frac,
        "low_memory": low_memory,
    }
    with ExitStack() as context:
        with progress("opening the model"):
            model = context.enter_context(running(opened, source, device, threads=threads, **choices))
        pieces = generate_text(model.generate, tokenizer, prompt, max_new_tokens)
        with progress("programming the first experts"):
            first = next(pieces, "")
        yield first
        yield from pieces


def _open(path: str | Path, alone: bool) -> Bundle | Plan:
    return load_bundle(path) if alone else open_plan(path)
