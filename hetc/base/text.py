"""Text of the command line, paths above all, as libraries that aren't Python's take it."""

from __future__ import annotations

import os
from pathlib import Path

from hetc.base.errors import UsageError

__all__ = ["as_utf8"]


def as_utf8(text: Path | str) -> str:
    """A path or other text in UTF-8, whatever the locale: ONNX Runtime and tokenizers take no other.

    Raises:
        UsageError: Its bytes are not UTF-8.
    """
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{text}: isn't UTF-8, and nothing else is taken here") from error
