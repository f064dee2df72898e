"""Safetensors files of hetc's own: arrays, and a record about them in the metadata."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hetc.base.errors import InvalidInputError
from hetc.base.reading import require_file
from hetc.base.text import as_utf8

__all__ = ["cut_floats", "read_tensors", "save_tensors"]


def read_tensors(path: Path, what: str, prefix: str = "") -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """The metadata and all arrays of a file.

    Args:
        path: The file.
        what: What it is to be, which begins messages: `scores`.
        prefix: Read only arrays whose names begin so.

    Raises:
        UsageError: No such file.
        InvalidInputError: No safetensors file, or one with types that NumPy doesn't have.
    """
    require_file(path, what)
    try:
        with safe_open(as_utf8(path), framework="numpy") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
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


def cut_floats(
    arrays: Mapping[str, NDArray[Any]], name: str, shapes: Sequence[tuple[int, ...]], where: str
) -> list[NDArray[np.float32]]:
    """Arrays that stand one after the other in one array of a file.

    Args:
        arrays: The file's.
        name: Of the one that holds them.
        shapes: Theirs.
        where: What the file is; begins the message.

    Raises:
        InvalidInputError: The array is missing, or of another type or size, or not finite.
    """
    ends = np.cumsum([math.prod(shape) for shape in shapes], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    array = arrays.get(name, np.zeros(0))
    if array.shape != (total,) or array.dtype != np.float32 or not np.isfinite(array).all():
        raise InvalidInputError(f"{where}: array {name!r} must hold {total} finite float32 numbers")
    return [part.reshape(shape) for part, shape in zip(np.split(array, ends[:-1]), shapes, strict=True)]


def _sort_header(path: Path) -> None:
    """Gives the header one order: safetensors writes the metadata in another order each time."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= length:
            file.seek(8)
            file.write(text.ljust(length))
