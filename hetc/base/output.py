"""Outputs appear whole or not at all: written beside, then renamed, by one writer at a time."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hetc.base.errors import OutputError, UsageError
from hetc.base.output_lock import HiddenNames, locked, names_beside
from hetc.base.text import as_utf8

__all__ = ["held", "whole_file", "whole_folder"]

AT_FDCWD = -100
RENAME_EXCHANGE = 2
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What only writing can end with, whichever file is named."""


@contextmanager
def whole_folder(path: Path, *, marker: str | None, force: bool = False) -> Iterator[Path]:
    """Yields an empty folder beside `path` that becomes `path` if the block ends without an error.

    A process that is killed leaves at most hidden entries, which the next one for the same path removes.

    Args:
        path: The folder to make; its parents are made, too.
        marker: A file that every such folder holds; `force` replaces nothing that lacks it. None for a folder
            that others may use too: `force` replaces the files that are made, and keeps all others there.
        force: Whether an existing folder may be replaced.

    Raises:
        UsageError: `path` exists and may not be replaced, another process writes it, or it isn't UTF-8.
        OutputError: `path` can't be written.
    """
    path = path if path.name else path.absolute()  # such as "."
    with _staging(path, force=force, make_parents=True) as staging:
        if path.exists() and not path.is_dir():
            raise UsageError(f"output {path} is not a folder; choose another -o")
        if path.exists() and marker is not None and not (path / marker).is_file():
            raise UsageError(
                f"output {path} has no {marker}, so --force will not replace it; choose another -o"
            )
        staging.mkdir()
        yield staging
        if marker is None and path.exists():
            _keep_others(path, staging)
        _replace(path, staging)


@contextmanager
def whole_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yields a file beside `path` that becomes `path` if the block ends without an error.

    Raises:
        UsageError: `path` exists and `force` is off, another process writes it, or it isn't UTF-8.
        OutputError: `path` can't be written, or its folder isn't there.
    """
    path = path if path.name else path.absolute()  # such as "."
    with _staging(path, force=force, make_parents=False) as staging:
        if path.is_dir():
            raise UsageError(f"output {path} is a folder; choose another -o")
        staging.touch(exist_ok=False)
        yield staging
        staging.replace(path)


@contextmanager
def held(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Keeps a path to this process while the block runs, or to all that share it; makes nothing there.

    Raises:
        UsageError: Another process holds it, or it isn't UTF-8.
        OutputError: The lock beside it can't be made.
    """
    as_utf8(path.absolute())
    names = names_beside(path)
    with _output_errors(path, names):
        _require_parent(path)
        with locked(path, names.lock, shared=shared):
            yield


@contextmanager
def _staging(path: Path, *, force: bool, make_parents: bool) -> Iterator[Path]:
    """Yields a path beside `path` that nobody else has; what is there at the end of the block goes."""
    as_utf8(path.absolute())
    names = names_beside(path)
    with _output_errors(path, names), ExitStack() as cleanup:
        if make_parents:
            cleanup.enter_context(_parents(path))
        else:
            _require_parent(path)
        alone = cleanup.enter_context(locked(path, names.lock))
        if alone:
            _clean_up(path, names)
        if _exists(path) and not force:
            raise UsageError(f"output {path} exists; choose another -o, or --force to replace it")
        cleanup.callback(_remove, names.staging)
        yield names.staging


def _require_parent(path: Path) -> None:
    if not path.parent.is_dir():
        raise OutputError(f"output {path} cannot be written: {path.parent} is not a folder")


@contextmanager
def _output_errors(path: Path, names: HiddenNames) -> Iterator[None]:
    """Turns what the file system says about an output into `OutputError`."""
    try:
        yield
    except OSError as error:
        files = [Path(os.fsdecode(file)) for file in (error.filename, error.filename2) if file is not None]
        if error.errno in NO_ROOM or not files or any(_concerns(file, path, names) for file in files):
            raise OutputError(f"output {path} cannot be written: {error.strerror or error}") from error
        raise


def _concerns(file: Path, path: Path, names: HiddenNames) -> bool:
    """Whether a file belongs to an output: is it, is above it, or is one of its hidden entries."""
    whole = path.absolute()
    return names.prefix in str(file) or file.absolute() in (whole, *whole.parents)


def _exists(path: Path) -> bool:
    """Whether something is there, be it a link that leads nowhere.

    Raises:
        OSError: No such path can be: a name that is too long, a file where a folder must be.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Makes the folders above `path`, and removes those that it made and that are empty at the end."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for folder in missing:
            try:
                folder.rmdir()
            except OSError:
                break


def _clean_up(path: Path, names: HiddenNames) -> None:
    """Removes what killed processes left behind, and brings back what one was about to replace."""
    if _exists(names.replaced) and not _exists(path):
        names.replaced.rename(path)
    for leftover in names.leftovers():
        _remove(leftover)


def _remove(path: Path) -> None:
    """Removes a folder, a file or a link, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _keep_others(path: Path, staging: Path) -> None:
    """Brings everything of `path` that `staging` lacks: linked, so that `path` stays as it is until then."""
    for old in sorted(path.rglob("*")):
        new = staging / old.relative_to(path)
        if old.is_dir() and not old.is_symlink():
            new.mkdir(exist_ok=True)
        elif not _exists(new):
            try:
                os.link(old, new, follow_symlinks=False)
            except OSError:
                shutil.copy2(old, new, follow_symlinks=False)


def _replace(path: Path, staging: Path) -> None:
    """Puts `staging` in the place of `path`, in one step where the file system can swap the two."""
    if not _exists(path):
        staging.rename(path)
    elif not _swap(path, staging):
        replaced = names_beside(path).replaced
        path.rename(replaced)
        try:
            staging.rename(path)
        except BaseException:
            replaced.rename(path)
            raise
        _remove(replaced)


def _swap(first: Path, second: Path) -> bool:
    """Exchanges two paths in one step; False where that isn't known (not Linux, some network drives)."""
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    if exchange is None:
        return False
    names = (os.fsencode(first), os.fsencode(second))
    return bool(exchange(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0)
