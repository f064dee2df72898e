"""Runs a command while the n-th operation on the disk fails, or kills it, for one n after another.

    LD_PRELOAD=failing_disk.so python attempts.py WATCHED OLD ERRNO FIRST STEP LAST COMMAND...

The command runs in `WATCHED/work`, which holds copies of what is in the folder OLD before each try. ERRNO is
0 to kill. Prints a JSON line for each try: what happened, and what lies in the folder afterwards; then, for a
kill, what a second run of the command that isn't disturbed does. Ends with the first n that the command
doesn't come to.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def listing(folder: Path) -> dict[str, str]:
    """Every entry below a folder, with the hash of a file."""
    return {
        entry.relative_to(folder).as_posix(): hashlib.sha256(entry.read_bytes()).hexdigest()
        if entry.is_file()
        else "folder"
        for entry in sorted(folder.rglob("*"))
    }


def attempt(watched: Path, number: int, error: int, arguments: list[str]) -> dict[str, Any]:
    """One run in a process of its own, which has everything imported already."""
    disk = ctypes.CDLL(None)
    disk.disk_arm.argtypes = (ctypes.c_char_p, ctypes.c_long, ctypes.c_int)
    said = watched.parent / "said"
    process = os.fork()
    if process == 0:
        descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.chdir(watched / "work")
        sys.argv = ["hetc", *arguments]
        code = 0
        if number:
            disk.disk_arm(os.fsencode(watched), number, error)
        try:
            import_module("hetc.cli.main").main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        reached = number > 0 and disk.disk_operations() >= number
        disk.disk_arm(b"", 0, 0)
        (watched.parent / "reached").write_text(str(reached))
        sys.stdout.flush()
        os._exit(code)
    (watched.parent / "reached").write_text("True")
    _, status = os.waitpid(process, 0)
    reached = (watched.parent / "reached").read_text() == "True"
    code = os.waitstatus_to_exitcode(status)
    text = said.read_text("utf-8", "replace")
    return {"code": code, "said": text, "reached": reached, "left": listing(watched / "work")}


def main() -> None:
    """The command line above."""
    watched, old = Path(sys.argv[1]), Path(sys.argv[2])
    error, first, step, last = map(int, sys.argv[3:7])
    arguments = sys.argv[7:]
    for module in ("hetc.compiler.compile", "hetc.bundle.verify", "jsonschema", "onnxruntime"):
        import_module(module)
    for number in range(first, last + 1, step):
        shutil.rmtree(watched / "work", ignore_errors=True)
        shutil.copytree(old, watched / "work", symlinks=True)
        tried = attempt(watched, number, error, arguments)
        if error == 0 and tried["code"] < 0:
            tried["again"] = attempt(watched, 0, 0, arguments)
        print(json.dumps({"number": number, **tried}), flush=True)
        if number and not tried["reached"]:
            return


if __name__ == "__main__":
    main()
