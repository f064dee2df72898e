"""Safetensors files of hetc's own: arrays, and a record about them in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hetc.base.errors import InvalidInputError
from hetc.base.reading import require_file
from hetc.base.text import as_utf8

__all__ = ["read_tensors", "save_tensors"]


def read_tensors(path: Path, what: str) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """The metadata and all arrays of a file.

    Args:
        path: The file.
        what: What it is to be, which begins messages: `scores`.

    Raises:
        UsageError: No such file.
        InvalidInputError: No safetensors file, or one with types that NumPy doesn't have.
    """
    require_file(path, what)
    try:
        with safe_open(as_utf8(path), framework="numpy") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(f"{what} {path} is no safetensors file: {error}") from error


def save_tensors(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Writes arrays and metadata to a file.

    Raises:
        OSError: It can't be written.
    """
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(dict(arrays), as_utf8(path), dict(metadata))
    except SafetensorError as error:
        raise OSError(str(error)) from error
    _sort_header(path)
    path.chmod(mode)  # safetensors' file may be read by its owner alone


def _sort_header(path: Path) -> None:
    """Gives the header one order: safetensors writes the metadata in another order each time."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= length:
            file.seek(8)
            file.write(text.ljust(length))
