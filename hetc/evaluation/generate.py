"""Greedy text generation: text from tokens, and tokens from a session through its KV cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hetc.base.errors import InvalidInputError
from hetc.model.generation_config import decoder_start
from hetc.model.inputs import first_step, is_encoder_decoder, next_step
from hetc.model.prediction import Generate
from hetc.runtimes.onnxruntime.run_model import run_model

if TYPE_CHECKING:
    import onnxruntime
    from tokenizers import Tokenizer

__all__ = ["generate_text", "generate_tokens"]


def generate_text(
    generate: Generate, tokenizer: Tokenizer, prompt: str, max_new_tokens: int
) -> Iterator[str]:
    """Continues `prompt`, yielding text as it comes.

    Args:
        generate: The model's continuations.
        tokenizer: The model's.
        prompt: The text to continue.
        max_new_tokens: Where to stop, unless the model ends the text.

    Raises:
        InvalidInputError: The prompt has no tokens, or what `generate` raises.
    """
    tokens = tokenizer.encode(prompt).ids
    if not tokens:
        raise InvalidInputError("the prompt has no tokens; give some text to continue")
    generated: list[int] = []
    shown = tokenizer.decode(tokens)
    for token in generate(tokens, max_new_tokens):
        generated.append(token)
        text = tokenizer.decode(tokens + generated)
        if not text.endswith("\ufffd"):  # half of a multi-byte character waits for the other half
            yield text[len(shown) :]
            shown = text


def generate_tokens(
    session: onnxruntime.InferenceSession,
    tokens: list[int],
    max_new_tokens: int,
    end: frozenset[int] = frozenset(),
    folder: Path | None = None,
) -> Iterator[int]:
    """The most likely continuation of `tokens`, token by token.

    Args:
        session: The model.
        tokens: What to continue.
        max_new_tokens: Where to stop, unless a token of `end` comes first.
        end: The tokens that end a text.
        folder: Where the model's `genai_config.json` may lie.

    Raises:
        InvalidInputError: The model is neither a cached language model nor an encoder-decoder, or can't run
            on the tokens.
    """
    if is_encoder_decoder(session):
        yield from _write_tokens(session, tokens, max_new_tokens, end, folder)
        return
    names = [value.name for value in session.get_outputs()]
    if "logits" not in names or not any(name.startswith("present.") for name in names):
        raise InvalidInputError("the model has no logits or no KV cache; export it with `hetc export`")
    feeds = first_step(session, np.array([tokens]), folder)
    for _ in range(max_new_tokens):
        outputs = dict(zip(names, run_model(session, None, feeds), strict=True))
        logits = outputs["logits"]
        token = logits.reshape(1, -1, logits.shape[-1])[:, -1:].argmax(-1).astype(np.int64)
        if int(token[0, 0]) in end:
            return
        yield int(token[0, 0])
        feeds = next_step(feeds, outputs, token)


def _write_tokens(
    session: onnxruntime.InferenceSession,
    tokens: list[int],
    max_new_tokens: int,
    end: frozenset[int],
    folder: Path | None,
) -> Iterator[int]:
    """What an encoder-decoder writes of `tokens`; without a cache, each token is a run of the whole."""
    written = [decoder_start(folder)]
    for _ in range(max_new_tokens):
        feeds = first_step(session, np.array([tokens]), folder, written=np.array([written]))
        (logits,) = run_model(session, ["logits"], feeds)
        token = int(logits[0, -1].argmax())
        if token in end:
            return
        yield token
        written.append(token)
