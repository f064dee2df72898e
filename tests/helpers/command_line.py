"""Runs `hetc` as a user does, in this process or in one of its own."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from places import SAMPLES

from hetc.base import progress
from hetc.cli.main import main

__all__ = ["SAMPLE", "hetc", "hetc_process"]

SAMPLE = SAMPLES / "tiny_moe"


def hetc(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What `hetc_process` gives, without the seconds of imports that a process starts with."""
    argv = ["hetc", *map(str, arguments)]
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code: object = 0
    with _as_in_a_process(argv, cwd), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int), code
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(argv, code, *texts)


@contextmanager
def _as_in_a_process(argv: list[str], cwd: Path | None) -> Iterator[None]:
    """Gives back what a command changes for all of its process: folder, signals, logging, progress."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    shown = progress._settings.shown
    terminated = signal.getsignal(signal.SIGTERM)
    folder = Path.cwd()
    os.chdir(cwd or folder)
    root.handlers.clear()
    try:
        with patch.object(sys, "argv", argv):
            yield
    finally:
        os.chdir(folder)
        signal.signal(signal.SIGTERM, terminated)
        root.handlers[:] = handlers
        root.setLevel(level)
        progress._settings.shown = shown


def hetc_process(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The finished process, with stdout and stderr as text."""
    return subprocess.run(
        [sys.executable, "-m", "hetc.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=120,
    )
