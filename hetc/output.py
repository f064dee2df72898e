"""Output folders appear whole or not at all: written beside, then renamed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hetc.errors import UsageError

__all__ = ["bring_file", "whole_file", "whole_folder"]


@contextmanager
def whole_folder(path: Path, *, marker: str, force: bool = False) -> Iterator[Path]:
    """Yields an empty folder beside `path` that becomes `path` if the block ends without an error.

    A process that is killed leaves at most a hidden folder, which the next one for the same path removes.

    Args:
        path: The folder to make.
        marker: A file that every such folder holds; `force` replaces nothing that lacks it.
        force: Whether an existing folder may be replaced.

    Raises:
        UsageError: `path` exists and may not be replaced, or its parent cannot be written.
    """
    if path.exists() and not force:
        raise UsageError(f"output {path} exists; choose another -o, or --force to replace it")
    if path.exists() and not (path / marker).is_file():
        raise UsageError(f"output {path} has no {marker}, so --force will not replace it; choose another -o")
    _remove_leftovers(path)
    staging = path.parent / f".{path.name}.{os.getpid()}.partial"
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"output {path} cannot be written: {error.strerror}") from error
    try:
        yield staging
        if path.exists():
            replaced = path.parent / f".{path.name}.{os.getpid()}.replaced.partial"
            path.rename(replaced)
            staging.rename(path)
            shutil.rmtree(replaced) if replaced.is_dir() else replaced.unlink()
        else:
            staging.rename(path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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


def bring_file(source: Path, target: Path, *, link: bool) -> None:
    """Copies a file into an output, or hard-links what it is (symbolic links are followed first).

    Raises:
        UsageError: It cannot be linked, such as across file systems.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()
    if not link:
        shutil.copyfile(source, target)
        return
    try:
        os.link(source, target)
    except OSError as error:
        raise UsageError(
            f"{source}: cannot be hard-linked into the output ({error.strerror}); "
            "run it without --link to copy the file"
        ) from error
