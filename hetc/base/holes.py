"""Holes: stretches of a sparse file that were never written, read as zeros and take no disk."""

from __future__ import annotations

import errno
import os

__all__ = ["is_hole"]


def is_hole(descriptor: int, offset: int, length: int) -> bool:
    """Whether a stretch of a file is nothing but hole, so that it need not be read to be known.

    Args:
        descriptor: An open file; where it reads next changes.
        offset: The first byte.
        length: Number of bytes.

    Returns:
        False as well for what lies outside the file, and where the system can't tell.
    """
    if not hasattr(os, "SEEK_DATA") or not 0 < length <= os.fstat(descriptor).st_size - offset:
        return False
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA) >= offset + length
    except OSError as error:
        return error.errno == errno.ENXIO  # there is no data from here to the end
