"""Keeps what was measured of weight files in the user's cache folder, so that each is read once.

`$XDG_CACHE_HOME/hetc/weights`, or `~/.cache/hetc/weights`, holds one file per device and inode. It counts
only for the size and the time of modification that it names, and only if its own hash is right.
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
SETTLED_NS = 2_000_000_000
"""A younger file may change again within one tick of its clock, and nothing would tell."""


def cache_folder() -> Path:
    """Where measurements are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home, "hetc", "weights")


def recall(identity: FileIdentity) -> MeasuredFile | None:
    """What is known of a file; None for nothing, or nothing that can be trusted."""
    try:
        digest, text = _record(identity).read_text("utf-8").split("\n", 1)
        record = json.loads(text)
        norms = {
            MatrixPlace(offset, dtype, rows, columns): MatrixNorms(row, column)
            for offset, dtype, rows, columns, row, column in record["norms"]
        }
        measured = MeasuredFile(FileIdentity(*record["identity"]), record["sha256"], norms)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    intact = hashlib.sha256(text.encode()).hexdigest() == digest
    return measured if intact and measured.identity == identity else None


def remember(measured: MeasuredFile) -> None:
    """Keeps a measurement; a cache that cannot be written is none."""
    identity = measured.identity
    if identity.size < LEAST_SIZE or time.time_ns() - identity.mtime_ns < SETTLED_NS:
        return
    norms = [[*astuple(place), *astuple(found)] for place, found in measured.norms.items()]
    text = json.dumps({"identity": astuple(identity), "sha256": measured.sha256, "norms": norms})
    path = _record(identity)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, force=True) as partial:
            partial.write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}", "utf-8")
    except OSError as error:
        logger.info("measurements are not kept: %s", error)


def _record(identity: FileIdentity) -> Path:
    return cache_folder() / f"{identity.device}-{identity.inode}.json"
