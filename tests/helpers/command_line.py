"""Runs `hetc` as a user does, in this process or in one of its own."""

from __future__ import annotations

import io
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from places import SAMPLES

from hetc.base import progress
from hetc.cli.main import main

__all__ = ["SAMPLE", "hetc", "hetc_process", "python_process"]

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
    progress._settings.shown = False
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
    return python_process("from hetc.cli.main import main; main()", *arguments, cwd=cwd)


# Importing takes a process longer than most commands do: processes are forked from one that has imported.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["hetc.cli.main", "hetc.compiler.compile", "hetc.bundle.verify", "onnxruntime"])


def python_process(
    script: str, *arguments: object, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """What `python -c script arguments` ends with, in a process that starts with hetc's imports done."""
    argv = ["hetc", *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / name for name in ("out", "err")]
        process = _FORKS.Process(target=_run_script, args=(script, argv, cwd, dict(os.environ), said))
        process.start()
        process.join(120)
        process.kill()
        process.join()
        texts = [path.read_bytes().decode() for path in said]
    assert process.exitcode is not None
    return subprocess.CompletedProcess(argv, process.exitcode, *texts)


def _run_script(
    script: str, argv: list[str], cwd: Path | None, variables: dict[str, str], said: list[Path]
) -> None:
    for descriptor, path in enumerate(said, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd or Path.cwd())
    sys.argv = argv
    exec(script, {"__name__": "__main__"})
