"""Output folders appear whole or not at all: written beside, then renamed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from hetc.base.errors import UsageError
from hetc.base.progress import progress

__all__ = ["bring_files", "whole_file", "whole_folder"]

COPY_BLOCK = 16 << 20
"""Bytes copied at a time."""


@contextmanager
def whole_folder(path: Path, *, marker: str | None, force: bool = False) -> Iterator[Path]:
    """Yields an empty folder beside `path` that becomes `path` if the block ends without an error.

    A process that is killed leaves at most a hidden folder, which the next one for the same path removes.

    Args:
        path: The folder to make.
        marker: A file that every such folder holds; `force` replaces nothing that lacks it. None for a folder
            that others may use too: `force` replaces the files that are made, and keeps all others there.
        force: Whether an existing folder may be replaced.

    Raises:
        UsageError: `path` exists and may not be replaced, or its parent cannot be written.
    """
    if path.exists() and not force:
        raise UsageError(f"output {path} exists; choose another -o, or --force to replace it")
    if path.exists() and not path.is_dir():
        raise UsageError(f"output {path} is not a folder; choose another -o")
    if path.exists() and marker is not None and not (path / marker).is_file():
        raise UsageError(f"output {path} has no {marker}, so --force will not replace it; choose another -o")
    _remove_leftovers(path)
    staging = path.parent / f".{path.name}.{os.getpid()}.partial"
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"output {path} cannot be written: {error.strerror}") from error
    try:
        yield staging
        if marker is None and path.exists():
            _keep_others(path, staging)
        _replace(path, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _keep_others(path: Path, staging: Path) -> None:
    """Brings everything of `path` that `staging` lacks: linked, so that `path` stays as it is until then."""
    for old in sorted(path.rglob("*")):
        new = staging / old.relative_to(path)
        if old.is_dir() and not old.is_symlink():
            new.mkdir(exist_ok=True)
        elif not new.exists():
            try:
                os.link(old, new, follow_symlinks=False)
            except OSError:
                shutil.copy2(old, new, follow_symlinks=False)


def _replace(path: Path, staging: Path) -> None:
    """Puts `staging` in the place of `path`, which may exist; an interrupt leaves one of the two there."""
    replaced = path.parent / f".{path.name}.{os.getpid()}.replaced.partial"
    try:
        if path.exists():
            path.rename(replaced)
        staging.rename(path)
    finally:
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)


def _remove_leftovers(path: Path) -> None:
    """Removes what processes that no longer run left behind."""
    for leftover in path.parent.glob(f".{path.name}.*.partial"):
        match = re.search(r"\.(\d+)(\.replaced)?\.partial$", leftover.name)
        if match and not _is_running(int(match[1])):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def whole_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yields a path beside `path` that becomes `path` if the block ends without an error.

    Raises:
        UsageError: `path` exists and `force` is off, or its folder isn't there.
    """
    if path.exists() and not force:
        raise UsageError(f"output {path} exists; choose another -o, or --force to replace it")
    if not path.parent.is_dir():
        raise UsageError(f"output {path}: no such folder")
    staging = path.parent / f".{path.name}.{os.getpid()}.partial"
    try:
        yield staging
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def bring_files(targets: Mapping[Path, Path], *, link: bool) -> None:
    """Copies files into an output, or hard-links what they are (symbolic links are followed first).

    Args:
        targets: Where each file is to be.
        link: Whether to link.

    Raises:
        UsageError: One cannot be linked, such as across file systems, or written.
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
                raise UsageError(
                    f"{source}: cannot be copied to {target} ({error.strerror}); make room there, "
                    "or use --link within one file system"
                ) from error


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
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
