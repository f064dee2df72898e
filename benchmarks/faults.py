"""Tries what tests/faults tries, in full, and prints what was tried and what was found as Markdown.

    PYTHONPATH=tests/helpers python benchmarks/faults.py [--mutants 10000] [--every 1] [--writers 20]

Ends with exit code 1 if anything was found.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from command_line import SAMPLE
from disk_faults import COMMANDS, FULL, KILL, READ_ONLY, build_failing_disk, try_command, whole_inputs
from hostile_files import KINDS, damage, whole_files

MANY = 7
"""Every which operation of `calibrate` is tried, whose hundreds of kernels write two lines each."""


def disks(folder: Path, every: int) -> int:
    """Commands on failing disks, and killed ones."""
    library = build_failing_disk(folder)
    (folder / "given").mkdir()
    given = whole_inputs(folder / "given")
    print("| command | full disk: tried | read-only: tried | killed | left half an output, or else wrong |")
    print("|---|---|---|---|---|")
    found = 0
    for name in COMMANDS:
        tried = []
        wrong: list[str] = []
        for error in (FULL, READ_ONLY, KILL):
            with tempfile.TemporaryDirectory(dir=folder) as work:
                step = every * (MANY if name.startswith("calibrate") else 1)
                tries = try_command(library, Path(work), given, error, name, every=step)
            tried.append(sum(one["reached"] for one in tries.tries))
            wrong += tries.faults(killed=error == KILL)
        found += len(wrong)
        print(f"| {name} | {tried[0]} | {tried[1]} | {tried[2]} | {len(wrong)} |", flush=True)
        for one in wrong[:3]:
            print(one, file=sys.stderr)
    return found


def hostile(folder: Path, mutants: int) -> int:
    """Damaged files."""
    (folder / "whole").mkdir()
    whole_files(folder / "whole")
    print("\n| damaged | mutants | taken | refused with 2 / 3 / other | exit code 1, hangs, traces |")
    print("|---|---|---|---|---|")
    found = 0
    for name in KINDS:
        codes: Counter[int] = Counter()
        wrong = 0
        for seed in range(mutants):
            try:
                codes += damage(folder / "whole", name, range(seed, seed + 1))
            except AssertionError as error:
                wrong += 1
                if wrong <= 3:
                    print(str(error)[:2000], file=sys.stderr)
        refused = f"{codes[2]} / {codes[3]} / {mutants - wrong - codes[0] - codes[2] - codes[3]}"
        print(f"| {name} | {mutants} | {codes[0]} | {refused} | {wrong} |", flush=True)
        found += wrong
    return found


def writers(folder: Path, rounds: int) -> int:
    """Three compiles to one output at once."""
    found = 0
    for number in range(rounds):
        command = [sys.executable, "-m", "hetc", "compile", SAMPLE / "model.onnx", "-o", folder / f"{number}"]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started = [subprocess.Popen(command, **pipes) for _ in range(3)]
        found += sorted(one.wait() for one in started) != [0, 2, 2]
    print(f"\nConcurrent writers: {rounds} times three of one output; not exactly one won: {found}.")
    return found


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--writers", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = disks(Path(folder), options.every)
        found += hostile(Path(folder), options.mutants)
        found += writers(Path(folder), options.writers)
    sys.exit(found > 0)


if __name__ == "__main__":
    main()
