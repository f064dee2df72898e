"""Tries a command while its disk fails at every operation, or while it is killed at every one."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from command_line import SAMPLE, hetc
from models import saved_moe_model
from places import ROOT

sys.path.insert(0, str(ROOT / "tests" / "faults"))
from attempts import listing

__all__ = [
    "COMMANDS",
    "FULL",
    "KILL",
    "READ_ONLY",
    "Tries",
    "build_failing_disk",
    "try_command",
    "whole_inputs",
]

FAULTS = ROOT / "tests" / "faults"
FULL, READ_ONLY, KILL = errno.ENOSPC, errno.EROFS, 0
HIDDEN = ".hetc-"


COMMANDS = {
    "compile": "compile MODEL -o out",
    "compile --link": "compile MODEL -o out --link",
    "compile --force": "compile MODEL -o old --force --seed 5",
    "bake": "bake BUNDLE -o out",
    "bake --force": "bake BUNDLE -o old --force",
    "partition": "partition BUNDLE -o out --conductances",
    "calibrate": "calibrate LANGUAGE --data TOKENS --window 16 -o out",
    "calibrate --force": "calibrate LANGUAGE --data TOKENS --window 16 -o calibration --force",
    "mitigate": "mitigate LANGUAGE --data TOKENS --window 16 --smooth 0.5 -o out",
    # With --figures it has two outputs: each is whole, but a kill may come between them.
    "report": "report BUNDLE -o out.html --figures figures",
    "profiles": "profiles from-aihwkit AIHWKIT -o out.toml",
    "tokens": "tokens TEXT --tokenizer TOKENIZER -o out.npz",
}
"""Commands that write; words in capitals stand for what `whole_inputs` gives."""


@dataclass
class Tries:
    """What became of a command at each n.

    Attributes:
        before: Entries of the folder before each try, with the hashes of files.
        done: The entries after an undisturbed run.
        tries: One record for each n (tests/faults/attempts.py).
    """

    before: dict[str, str]
    done: dict[str, str]
    tries: list[dict[str, Any]]

    def faults(self, *, killed: bool) -> list[str]:
        """What is wrong: a traceback, an exit code that isn't the documented one, half an output."""
        return [
            f"at operation {one['number']}: {fault}\n{one['said'][-300:]}"
            for one in self.tries
            for fault in (self._after_kill(one) if killed else self._after_refusal(one))
        ]

    def _after_refusal(self, one: dict[str, Any]) -> list[str]:
        faults = []
        if "Traceback" in one["said"] or one["code"] not in (0, 6):
            faults.append(f"exit code {one['code']}")
        if one["code"] == 6 and sum(line.startswith("error:") for line in one["said"].splitlines()) != 1:
            faults.append("not one error")
        if one["code"] == 0 and one["left"] != self.done:
            faults.append(f"left {_difference(one['left'], self.done)}")
        if not self._whole(one["left"]):
            faults.append(f"half an output: {_difference(one['left'], self.before)}")
        return faults

    def _whole(self, left: dict[str, str]) -> bool:
        """Whether every output is there, or as it was: a command may have two, a page and its figures."""

        def outputs(entries: dict[str, str]) -> dict[str, dict[str, str]]:
            found: dict[str, dict[str, str]] = {}
            for name, content in entries.items():
                found.setdefault(name.partition("/")[0], {})[name] = content
            return found

        now, before, done = outputs(left), outputs(self.before), outputs(self.done)
        return all(now.get(name) in (before.get(name), done.get(name)) for name in {*now, *before})

    def _after_kill(self, one: dict[str, Any]) -> list[str]:
        if "again" not in one:  # it came to its end before operation n
            return [] if one["code"] == 0 and one["left"] == self.done else [f"exit code {one['code']}"]
        faults = []
        seen = {name: hash for name, hash in one["left"].items() if not name.startswith(HIDDEN)}
        if not self._whole(seen):
            faults.append(f"half an output: {_difference(seen, self.before)}")
        again = one["again"]
        exists = again["code"] == 2 and len(seen) > len(self.before)  # without --force
        if not exists and again["code"] != 0:
            faults.append(f"the next run ended with {again['code']}: {again['said'][-200:]}")
        if any(name.startswith(HIDDEN) for name in again["left"]):
            faults.append("the next run left hidden entries")
        if again["code"] == 0 and again["left"] != self.done:
            faults.append(f"the next run left {_difference(again['left'], self.done)}")
        return faults


def _difference(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))[:5]


def build_failing_disk(folder: Path) -> Path:
    """The library that makes a disk fail."""
    library = folder / "failing_disk.so"
    source = FAULTS / "failing_disk.c"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def try_command(
    library: Path, folder: Path, given: dict[str, str], error: int, name: str, *, every: int = 1
) -> Tries:
    """Runs a command at every n-th operation.

    Args:
        library: From `build_failing_disk`.
        folder: An empty folder to work in; the command runs two folders below it.
        given: From `whole_inputs`.
        error: FULL, READ_ONLY or KILL.
        name: One of `COMMANDS`.
        every: Which n are tried: 1, 1 + every, ...
    """
    arguments = [given.get(word, word) if word.isupper() else word for word in COMMANDS[name].split()]
    old = Path(given["old"])
    watched = folder / "watched"
    (watched / "temporary").mkdir(parents=True)
    variables = {
        **os.environ,
        "TMPDIR": str(watched / "temporary"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "LD_PRELOAD": str(library),
    }

    def attempts(first: int, last: int) -> list[dict[str, Any]]:
        numbers = map(str, (error, first, every, last))
        command = [sys.executable, FAULTS / "attempts.py", watched, old, *numbers, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
        assert result.returncode == 0, result.stderr
        return [json.loads(line) for line in result.stdout.splitlines()]

    undisturbed = attempts(0, 0)[0]
    assert undisturbed["code"] == 0, undisturbed["said"]
    return Tries(listing(old), undisturbed["left"], attempts(1, 100_000))


def whole_inputs(folder: Path) -> dict[str, str]:
    """What the commands are given, by the words above, and `old`: a folder with outputs that are replaced."""
    model = saved_moe_model(folder)
    assert hetc("compile", model, "-o", folder / "bundle").returncode == 0
    (folder / "old").mkdir()
    assert hetc("compile", model, "-o", folder / "old" / "old").returncode == 0
    np.savez(folder / "tokens.npz", tokens=np.arange(32))
    language = SAMPLE / "model.onnx"
    recorded = ("--data", folder / "tokens.npz", "--window", 32, "-o", folder / "old" / "calibration")
    assert hetc("calibrate", language, *recorded).returncode == 0
    (folder / "text.txt").write_text("import os\n")
    (folder / "aihwkit.json").write_text(json.dumps({"forward": {"is_perfect": False, "inp_res": 254}}))
    return {
        "MODEL": str(model),
        "BUNDLE": str(folder / "bundle"),
        "LANGUAGE": str(language),
        "TOKENS": str(folder / "tokens.npz"),
        "TEXT": str(folder / "text.txt"),
        "TOKENIZER": str(SAMPLE),
        "AIHWKIT": str(folder / "aihwkit.json"),
        "old": str(folder / "old"),
    }
