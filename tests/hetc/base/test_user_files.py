"""Small files from outside: whatever is in them, and whatever they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.reading import read_json, read_text, read_toml


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "is not UTF-8 text"),
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b"1" * 10_000, "is not JSON"),
    ],
)
def test_what_is_no_json(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InvalidInputError, match=message):
        read_json(tmp_path / "file", "plan")


@pytest.mark.parametrize("content", [b"\xff", b"= 1", b"a = " + b"[" * 200_000, b"a = 1\na = 2"])
def test_what_is_no_toml(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InvalidInputError, match="is not"):
        read_toml(tmp_path / "file", "profile")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InvalidInputError, match=r"is a folder|no regular file"):
            read_text(path, "plan")
    for name in ("nowhere", "x" * 300, "a\0b"):
        with pytest.raises(UsageError, match="plan "):
            read_text(tmp_path / name, "plan")


def test_a_file_with_a_hole_of_a_terabyte(tmp_path: Path) -> None:
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidInputError, match="over 1 GiB"):
        read_text(tmp_path / "hole", "plan")
