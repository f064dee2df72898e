"""What lies beside a model and says how text is generated with it: config.json and its like."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError
from hetc.base.reading import read_json

__all__ = ["CONFIG", "GENAI_CONFIG", "end_tokens", "genai_decoder", "read_config", "token_ids"]

GENAI_CONFIG = "genai_config.json"
CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"


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
    config = read_config(folder / CONFIG)
    for name, given in (
        (GENERATION_CONFIG, read_config(folder / GENERATION_CONFIG)),
        (CONFIG, config),
        (CONFIG, config.get("text_config")),
    ):
        end = given.get("eos_token_id") if isinstance(given, dict) else None
        if end is not None:
            return frozenset(token_ids(end, folder / name))
    return frozenset()


def token_ids(value: object, file: Path) -> list[int]:
    """A token, or a list of tokens, of a configuration, as a list."""
    tokens = value if isinstance(value, list) else [value]
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in tokens):
        raise InvalidInputError(f"{file}: {value!r} is neither a token nor a list of tokens")
    return tokens
