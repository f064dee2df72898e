"""What lies beside a model and says how text is generated with it: config.json and its like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError
from hetc.base.reading import read_json

__all__ = [
    "CONFIG",
    "GENAI_CONFIG",
    "context_length",
    "decoder_start",
    "end_tokens",
    "first_token",
    "genai_decoder",
    "read_config",
]

GENAI_CONFIG = "genai_config.json"
CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
TEXT = "config.json, text_config"
"""The part about text of a model that takes more than text."""


def read_config(file: Path) -> dict[str, Any]:
    """A JSON object of a folder; empty where the file is missing.

    Raises:
        InvalidInputError: The file is damaged, or holds something else.
    """
    if not file.exists():
        return {}
    content = read_json(file, "configuration")
    if not isinstance(content, dict):
        raise InvalidInputError(f"configuration {file} holds {type(content).__name__}, not a JSON object")
    return content


def genai_decoder(folder: Path | None) -> Mapping[str, Any]:
    """Sizes of the decoder that ONNX Runtime's generate() is told: `head_size`, `context_length`, ..."""
    if folder is None:
        return {}
    model = read_config(folder / GENAI_CONFIG).get("model", {})
    decoder = model.get("decoder", {}) if isinstance(model, dict) else None
    if not isinstance(decoder, dict):
        raise InvalidInputError(f"{folder / GENAI_CONFIG}: model.decoder is no JSON object")
    return {"context_length": model.get("context_length"), **decoder}


def end_tokens(folder: Path) -> frozenset[int]:
    """The tokens that end a text: by generation_config.json, as transformers has it, or else config.json.

    Raises:
        InvalidInputError: A file is damaged, or its `eos_token_id` is neither a number nor a list of numbers.
    """
    return frozenset(_tokens(folder, "eos_token_id", (GENERATION_CONFIG, CONFIG, TEXT)))


def first_token(folder: Path) -> int:
    """The token that stands before a text that nothing precedes: what begins texts, or else what ends them.

    Raises:
        InvalidInputError: No file names one, or one is damaged.
    """
    for key in ("bos_token_id", "eos_token_id"):
        for token in _tokens(folder, key, (TEXT, CONFIG, GENERATION_CONFIG)):
            return token
    raise InvalidInputError(
        f"{folder}: neither bos_token_id nor eos_token_id in {CONFIG} or {GENERATION_CONFIG}; copy them from "
        "the checkpoint"
    )


def decoder_start(folder: Path | None) -> int:
    """The token that an encoder-decoder begins to write from.

    Raises:
        InvalidInputError: No file names it, or one is damaged.
    """
    if folder is not None:
        for token in _tokens(folder, "decoder_start_token_id", (GENERATION_CONFIG, CONFIG)):
            return token
    raise InvalidInputError(
        f"{folder or 'the model'}: no decoder_start_token_id in {CONFIG} or {GENERATION_CONFIG} beside the "
        "model, from which an encoder-decoder begins to write; copy them from the checkpoint"
    )


def context_length(folder: Path) -> int | None:
    """How many tokens in a row a model was made for (`max_position_embeddings`); None where nothing says.

    Raises:
        InvalidInputError: config.json is damaged, or says something that is no such number.
    """
    for given in (_part(folder, TEXT), _part(folder, CONFIG)):
        length = given.get("max_position_embeddings")
        if length is not None:
            if not isinstance(length, int) or length < 2:
                raise InvalidInputError(f"{folder / CONFIG}: max_position_embeddings is {length!r}")
            return length
    return None


def _tokens(folder: Path, key: str, parts: Sequence[str]) -> list[int]:
    """What the first of a folder's configurations that has a key says; damaged ones are refused, too."""
    given = [(part, _part(folder, part).get(key)) for part in parts]
    said = [_token_ids(value, f"{folder / part}: {key}") for part, value in given if value is not None]
    return said[0] if said else []


def _part(folder: Path, part: str) -> dict[str, Any]:
    if part != TEXT:
        return read_config(folder / part)
    text = read_config(folder / CONFIG).get("text_config")
    return text if isinstance(text, dict) else {}


def _token_ids(value: object, where: str) -> list[int]:
    """A token, or a list of tokens, of a configuration, as a list."""
    tokens: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in tokens):
        raise InvalidInputError(f"{where} {value!r} is neither a token nor a list of tokens")
    return tokens
