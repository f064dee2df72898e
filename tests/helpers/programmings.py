"""How many matrices this process has programmed, from the library's own counter."""

from __future__ import annotations

import ctypes

from hetc.runtimes.onnxruntime.library import library_path

__all__ = ["programmings"]


def programmings() -> int:
    """The count so far; the handle keeps the library, and with it the count, when the last session ends."""
    count = ctypes.CDLL(str(library_path())).hetc_programmings
    count.restype = ctypes.c_uint64
    return int(count())
