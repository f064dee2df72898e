"""One writer per output: a lock beside it, and the hidden names that only the holder of the lock uses."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hetc.base.errors import UsageError

__all__ = ["HiddenNames", "locked", "names_beside"]

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What network drives without locks answer."""

LONGEST = 100
"""Bytes that say who holds a lock."""


@dataclass(frozen=True)
class HiddenNames:
    """The hidden entries beside an output while it is written.

    Attributes:
        prefix: Begins all of them. It is made from a hash of the output's name, so that it is short for a
            long name, and of one output only.
        lock: The lock file.
        staging: Where this process writes; a name that nobody else has.
        replaced: Where the old output is while the new one takes its place, if that takes two steps.
    """

    prefix: str
    lock: Path
    staging: Path
    replaced: Path

    def leftovers(self) -> list[Path]:
        """What earlier writers left: whoever holds the lock knows that they are dead."""
        return [entry for entry in self.lock.parent.glob(f"{self.prefix}*") if entry != self.lock]


def names_beside(path: Path) -> HiddenNames:
    """The hidden names for an output; each call has another `staging`."""
    prefix = f".hetc-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}"
    folder = path.parent
    staging = folder / f"{prefix}.{secrets.token_hex(8)}.partial"
    return HiddenNames(prefix, folder / f"{prefix}.lock", staging, folder / f"{prefix}.replaced")


@contextmanager
def locked(path: Path, lock: Path, *, shared: bool = False) -> Iterator[bool]:
    """Holds the lock of an output; the system frees it when the process ends, however that happens.

    Yields False on a network drive that knows no locks, where two writers can't see each other.

    Args:
        path: The output.
        lock: The lock file. It goes with a holder that is alone; those that share leave it to the next one
            that is.
        shared: Whether others may hold it so, too.

    Raises:
        UsageError: Another process, or another thread of this one, holds it.
        OSError: The lock can't be made.
    """
    descriptor, alone = _take(path, lock, shared)
    try:
        yield alone
    finally:
        if not shared:
            lock.unlink(missing_ok=True)
        os.close(descriptor)


def _take(path: Path, lock: Path, shared: bool) -> tuple[int, bool]:
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:  # else its last holder removed it between the two lines above
                _sign(descriptor)
                return descriptor, True
            os.close(descriptor)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return descriptor, False
            holder = os.pread(descriptor, LONGEST, 0).decode(errors="replace")
            os.close(descriptor)
            if error.errno == errno.EWOULDBLOCK:
                who = f" ({holder})" if holder else ""
                raise UsageError(
                    f"output {path} is being written by another hetc{who}; wait for it, or choose another -o"
                ) from error
            raise


def _sign(descriptor: int) -> None:
    """Notes who holds the lock, or of those that share it, who was the last to begin."""
    with suppress(OSError):  # a full disk: the lock holds without
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}"[:LONGEST].encode(), 0)
