"""Brings files into an output: copied, or hard-linked."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from hetc.base.errors import OutputError, UsageError
from hetc.base.progress import progress

__all__ = ["bring_files"]

COPY_BLOCK = 16 << 20
"""Bytes copied at a time."""

NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)
"""Why a file can't be linked, though it may be copied: another file system, another owner, too many links."""


def bring_files(targets: Mapping[Path, Path], *, link: bool) -> None:
    """Copies files into an output, or hard-links what they are (symbolic links are followed first).

    Args:
        targets: Where each file is to be.
        link: Whether to link.

    Raises:
        UsageError: One cannot be linked, such as across file systems.
        OutputError: One cannot be copied.
    """
    files = [(source.resolve(), target) for source, target in targets.items()]
    for _, target in files:
        target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        for source, target in files:
            _link(source, target)
        return
    with progress("copying weights", sum(source.stat().st_size for source, _ in files)) as advance:
        for source, target in files:
            try:
                _copy(source, target, advance)
            except OSError as error:
                raise OutputError(
                    f"{source}: cannot be copied into the output ({error.strerror}); make room there, "
                    "or use --link within one file system"
                ) from error


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        raise UsageError(
            f"{source}: cannot be hard-linked into the output ({error.strerror}); "
            "run it without --link to copy the file"
        ) from error


def _copy(source: Path, target: Path, advance: Callable[[int], None]) -> None:
    """Copies block by block, inside the file system where it can: some share the blocks instead."""
    with source.open("rb", buffering=0) as reader, target.open("wb") as writer:
        copied = 0
        if hasattr(os, "copy_file_range"):
            with suppress(OSError):
                while count := os.copy_file_range(reader.fileno(), writer.fileno(), COPY_BLOCK):
                    copied += count
                    advance(count)
        reader.seek(copied)
        writer.seek(copied)
        while block := reader.read(COPY_BLOCK):
            writer.write(block)
            advance(len(block))
