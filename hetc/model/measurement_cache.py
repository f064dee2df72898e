"""Keeps what was measured of weight files in the user's cache folder, so that each is read once.

`$XDG_CACHE_HOME/hetc/weights`, or `~/.cache/hetc/weights`, holds one file per device and inode. It counts
only for the size and the times of modification and change that it names, for the bytes that were sampled,
and only if its own hash is right. A time of modification can be set back, one of change can't.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from dataclasses import astuple
from pathlib import Path

from hetc.base.output import whole_file
from hetc.model.matrix_norms import MatrixNorms
from hetc.model.weight_pass import FileIdentity, MatrixPlace, MeasuredFile

__all__ = ["cache_folder", "recall", "remember"]

logger = logging.getLogger(__name__)

LEAST_SIZE = 64 << 20
"""Bytes below which reading a weight file again costs less than the clutter."""
LARGEST_RECORD = 1 << 28
"""Bytes of the largest entry that is read: one of a million matrices has less."""
SAMPLES, SAMPLE_BYTES = 64, 4096
SETTLED_NS = 2_000_000_000
"""A younger file may change again within one tick of its clock, and nothing would tell."""


def cache_folder() -> Path:
    """Where measurements are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home, "hetc", "weights")


def recall(path: Path) -> MeasuredFile | None:
    """What is known of a weight file; None for nothing, or nothing that can be trusted."""
    identity = FileIdentity.of(path)
    if identity.size < LEAST_SIZE:
        return None
    try:
        entry = _record(identity)
        if not entry.is_file() or entry.stat().st_size > LARGEST_RECORD:  # a pipe would be waited for
            return None
        digest, text = entry.read_text("utf-8").split("\n", 1)
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            return None
        record = json.loads(text)
        if record["state"] != _state(path):
            return None
        norms = {
            MatrixPlace(offset, dtype, rows, columns): MatrixNorms(row, column)
            for offset, dtype, rows, columns, row, column in record["norms"]
        }
        measured = MeasuredFile(FileIdentity(*record["identity"]), record["sha256"], norms)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return measured if measured.identity == identity else None


def remember(path: Path, measured: MeasuredFile) -> None:
    """Keeps the measurement of a weight file; a cache that cannot be written is none."""
    identity = measured.identity
    if identity.size < LEAST_SIZE or time.time_ns() - identity.mtime_ns < SETTLED_NS:
        return
    norms = [[*astuple(place), *astuple(found)] for place, found in measured.norms.items()]
    entry = _record(identity)
    try:
        record = {"identity": astuple(identity), "sha256": measured.sha256, "norms": norms}
        text = json.dumps({**record, "state": _state(path)})
        entry.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(entry, force=True) as partial:
            partial.write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}", "utf-8")
    except OSError as error:
        logger.info("measurements are not kept: %s", error)


def _state(path: Path) -> list[object]:
    """The time of a file's last change of any kind, and a digest of bytes here and there in it."""
    status = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for part in range(SAMPLES):
            file.seek(part * max(0, status.st_size - SAMPLE_BYTES) // max(1, SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return [status.st_ctime_ns, digest.hexdigest()]


def _record(identity: FileIdentity) -> Path:
    return cache_folder() / f"{identity.device}-{identity.inode}.json"
