"""Reads small files that a user hands over: text, JSON and TOML, whatever may be in them."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError, UsageError

__all__ = ["parse_json", "parse_toml", "read_json", "read_text", "read_toml", "require_file"]

LARGEST = 1 << 30
"""Bytes of the largest text file that is read: a plan of a million units has half of it."""


def require_file(path: Path, what: str) -> None:
    """Raises unless `path` is a regular file: opening a named pipe or a device may wait for ever.

    Args:
        path: The file.
        what: What it is to be, which begins the message: `plan`, `profile`.

    Raises:
        UsageError: Nothing is there, or it may not be looked at.
        InvalidInputError: A folder, a named pipe, a device or the like.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise UsageError(f"{what} {path}: no such file") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{what} {path}: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(mode):
        raise InvalidInputError(f"{what} {path} is a folder; give a file")
    if not stat.S_ISREG(mode):
        raise InvalidInputError(f"{what} {path} is no regular file but a pipe, a device or the like")


def read_text(path: Path, what: str) -> str:
    """The text of a UTF-8 file, without the mark that some programs begin one with.

    Raises:
        UsageError: Nothing is there, or it may not be read.
        InvalidInputError: Not a regular file, not UTF-8, or over 1 GiB.
    """
    require_file(path, what)
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidInputError(f"{what} {path} has over {LARGEST >> 30} GiB; such a file holds text")
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{what} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{what} {path} is not UTF-8 text: {error}") from error


def read_json(path: Path, what: str) -> Any:
    """What a JSON file holds; errors as for `read_text`, and `InvalidInputError` for what is no JSON."""
    return parse_json(read_text(path, what), f"{what} {path}")


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """What a TOML file holds; errors as for `read_text`, and `InvalidInputError` for what is no TOML."""
    return parse_toml(read_text(path, what), f"{what} {path}")


def parse_json(text: str | bytes, where: str) -> Any:
    """What JSON text says.

    Raises:
        InvalidInputError: It is no JSON, or is nested too deeply; the message begins with `where`.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{where} is not JSON: {error}") from error


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """What TOML text says; errors as for `parse_json`."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{where} is not TOML: {error}") from error
