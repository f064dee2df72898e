"""Greedy text generation on a session, through the KV cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hetc.base.errors import InvalidInputError
from hetc.base.reading import read_json
from hetc.model.inputs import first_step, next_step
from hetc.model.tokenizer import load_tokenizer

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["end_tokens", "generate_text", "generate_tokens"]


def generate_text(
    session: onnxruntime.InferenceSession, folder: Path, prompt: str, max_new_tokens: int
) -> Iterator[str]:
    """Continues `prompt`, yielding text as it comes.

    Args:
        session: A session of a language model with KV cache.
        folder: Where `tokenizer.json` and, if there is one, `config.json` lie.
        prompt: The text to continue.
        max_new_tokens: Where to stop, unless the model ends the text.

    Raises:
        InvalidInputError: No tokenizer, or not a cached language model.
    """
    tokenizer = load_tokenizer(folder)
    tokens = tokenizer.encode(prompt).ids
    if not tokens:
        raise InvalidInputError("the prompt has no tokens; give some text to continue")
    generated: list[int] = []
    shown = tokenizer.decode(tokens)
    for token in generate_tokens(session, tokens, max_new_tokens, end_tokens(folder)):
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
) -> Iterator[int]:
    """The most likely continuation of `tokens`, token by token.

    Raises:
        InvalidInputError: The model is not a cached language model.
    """
    names = [value.name for value in session.get_outputs()]
    if "logits" not in names or not any(name.startswith("present.") for name in names):
        raise InvalidInputError("the model has no logits or no KV cache; export it with `hetc export`")
    feeds = first_step(session, np.array([tokens]))
    for _ in range(max_new_tokens):
        outputs = dict(zip(names, session.run(None, feeds), strict=True))
        token = outputs["logits"][:, -1:].argmax(-1).astype(np.int64)
        if int(token[0, 0]) in end:
            return
        yield int(token[0, 0])
        feeds = next_step(feeds, outputs, token)


def end_tokens(folder: Path) -> frozenset[int]:
    """The tokens that end a text, by the `config.json` of a folder.

    Raises:
        InvalidInputError: A damaged one.
    """
    path = folder / "config.json"
    if not path.is_file():
        return frozenset()
    config = read_json(path, "configuration")
    end = config.get("eos_token_id") if isinstance(config, dict) else "no table"
    tokens = end if isinstance(end, list) else [] if end is None else [end]
    if not all(isinstance(token, int) for token in tokens):
        raise InvalidInputError(f"configuration {path}: eos_token_id must be a token or a list of tokens")
    return frozenset(tokens)
