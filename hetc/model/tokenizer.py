"""Opens the tokenizer beside a model or checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hetc.base.errors import InvalidInputError
from hetc.base.reading import require_file
from hetc.base.text import as_utf8
from hetc.model.hub import local_path

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["TOKENIZER", "load_tokenizer"]

TOKENIZER = "tokenizer.json"


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer of a folder, or of a file.

    Args:
        path: A folder with a `tokenizer.json` (a checkpoint, a model's folder, a bundle), or such a file;
            `hf://OWNER/NAME` for that of a repository on the hub.

    Raises:
        UsageError: Nothing is there, or it can't be had from the hub.
        InvalidInputError: A folder without `tokenizer.json`, or one that can't be read.
    """
    from tokenizers import Tokenizer

    file = path = local_path(path, "tokenizer")
    if path.is_dir():
        file = path / TOKENIZER
        if not file.is_file():
            raise InvalidInputError(
                f"{path} has no {TOKENIZER}; save the checkpoint's fast tokenizer there: "
                "transformers.AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            )
    require_file(file, "tokenizer")
    name = as_utf8(file)
    try:
        return Tokenizer.from_file(name)
    except Exception as error:  # tokenizers raises bare exceptions
        raise InvalidInputError(f"tokenizer {file} can't be read: {error}") from error
