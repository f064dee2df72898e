"""Runs `hetc` as a user does: a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from places import SAMPLES

__all__ = ["SAMPLE", "hetc"]

SAMPLE = SAMPLES / "tiny_moe"


def hetc(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The finished process, with stdout and stderr as text."""
    return subprocess.run(
        [sys.executable, "-m", "hetc.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=120,
    )
