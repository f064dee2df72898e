"""Writes safetensors files, with ordinary modes and errors that name the output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from hetc.base.errors import OutputError

__all__ = ["save_tensors"]


def save_tensors(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Writes arrays and metadata to a file.

    Raises:
        OutputError: It can't be written.
    """
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(dict(arrays), path, dict(metadata))
    except SafetensorError as error:
        raise OutputError(f"output {path.name} cannot be written: {error}") from error
    path.chmod(mode)  # safetensors' file may be read by its owner alone
