"""Time the five jobs of samples/jobs as a user waits for them, and print a Markdown table.

    python benchmarks/jobs.py [JOB...]

Each script runs once in a fresh folder. bash notes when each of its lines starts, which gives the largest
step; seconds of the CPU are those of the script and of all that it starts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from timing import machine

JOBS = Path(__file__).parents[1] / "samples" / "jobs"
COMMANDS = ("hetc", "make", "./")
TRACE = """\
exec 9> "$JOBS_TRACE"
unset BASH_ENV
BASH_XTRACEFD=9 PS4='+ $EPOCHREALTIME '
set -x
"""
"""Read by bash before the script; a file, because bash takes no PS4 from the environment of root."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = sorted(path.name for path in JOBS.iterdir())
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"of {', '.join(names)}; all without any")
    options = parser.parse_args()
    print(f"{machine()}\n\n| job | commands | wall | CPU | largest step |\n| --- | --- | --- | --- | --- |")
    for name in options.jobs or names:
        print(row(JOBS / name), flush=True)


def row(job: Path) -> str:
    """Runs a job, and gives its line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        hook, trace = Path(folder, "hook"), Path(folder, "trace")
        hook.write_text(TRACE)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "BASH_ENV": str(hook), "JOBS_TRACE": str(trace)}
        with Path(folder, "log").open("w+") as log:
            start = time.time()
            process = subprocess.Popen([job, Path(folder, "out")], env=environment, stdout=log, stderr=log)
            _, status, usage = os.wait4(process.pid, 0)
            end = time.time()
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                log.seek(0)
                sys.exit(f"{job.name} failed:\n{log.read()}")
        steps = [line.split(maxsplit=2)[1:] for line in trace.read_text().splitlines() if line[:2] == "+ "]
    lengths = {
        command: float(after[0]) - float(began)
        for (began, command), after in pairwise([*steps, [str(end), ""]])
        if command.startswith(COMMANDS)
    }
    largest = max(lengths, key=lambda command: lengths[command])
    step = f"`{' '.join(largest.split()[:2])}`, {lengths[largest]:.0f} s"
    cpu = usage.ru_utime + usage.ru_stime
    return f"| {job.name} | {len(lengths)} | {end - start:.0f} s | {cpu:.0f} s | {step} |"


if __name__ == "__main__":
    main()
