"""The operator tests again, on builds of the library with sanitizers.

ONNX Runtime and Python are not instrumented, so a report counts only where the library itself did the
access: its frame is the first below the allocator's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

HERE = Path(__file__).parent
LIBRARY = "libhetc_ops"
# Not of the accessing code: the sanitizer's interceptors, and C's and C++'s libraries.
BYSTANDERS = re.compile(r"lib(asan|ubsan|tsan|c|stdc\+\+)\.so|ld-linux")
FRAME = re.compile(r"^ +#\d+ .*\(([^()]+?\.so[^()]*?|[^()]*)\+0x[0-9a-f]+\)", re.M)

RACE = """WARNING: ThreadSanitizer: data race (pid=1)
  Write of size 8 at 0x7b1000000000 by thread T4:
    #0 operator delete(void*, unsigned long) tsan_new_delete.cpp:150 (libtsan.so+0x86c3d)
    #1 {first} (first.so+0x1)

  Previous write of size 8 at 0x7b1000000000 by thread T10:
    #0 hetc::compute crossbar.cc:164 (libhetc_ops.so+0x1006a)
    #1 <null> <null> (onnxruntime_pybind11_state.so+0x637fda)

  Thread T4 (tid=1, running) created by main thread at:
    #0 pthread_create tsan_interceptors_posix.cpp:1001 (libtsan.so+0x5e686)
"""


def accessors(report: str) -> list[str]:
    """The module behind each access of a report, empty for the C library's own."""
    accesses = re.split(r"\n  (?:Thread|Mutex|Location|As if) ", report)[0]
    stacks = [FRAME.findall(stack) for stack in re.split(r"\n\s*\n", accesses)]
    return [next((one for one in stack if not BYSTANDERS.search(one)), "") for stack in stacks if stack]


def is_ours(report: str) -> bool:
    """Whether the library did an access: for a race every known one, since one side alone makes none."""
    found = [LIBRARY in module for module in accessors(report)]
    return bool(found) and (all(found) if "data race" in report else found[0])


def reports_in(folder: Path) -> list[str]:
    """The reports that blame the library."""
    text = "\n".join(file.read_text(errors="replace") for file in sorted(folder.glob("report.*")))
    starts = r"(?m)^(?==+\d+==ERROR|WARNING: ThreadSanitizer|Direct leak|Indirect leak|\S+: runtime error)"
    return [report for report in re.split(starts, text) if is_ours(report) or runtime_error(report)]


def runtime_error(report: str) -> bool:
    """UBSan reports come only from code that was built with it: the library's."""
    return re.match(r"\S+: runtime error", report) is not None


def sanitized(sanitizers: str, runtimes: list[str], folder: Path) -> dict[str, str]:
    """Build the library; the environment in which Python runs with it."""
    compiler = shutil.which("g++")
    if sys.platform != "linux" or compiler is None or shutil.which("cmake") is None:
        pytest.skip("needs g++ and cmake on Linux")
    found = [
        subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
        for name in runtimes
    ]
    if not all(Path(name).is_absolute() for name in found):
        pytest.skip(f"{' and '.join(runtimes)} are not installed")
    build = folder / "build"
    options = [
        f"-DHETC_SANITIZE={sanitizers}",
        f"-DCMAKE_CXX_COMPILER={compiler}",
        "-DCMAKE_BUILD_TYPE=Release",
    ]
    subprocess.run(["cmake", "-S", ROOT, "-B", build, *options], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", build, "-j2"], check=True, stdout=subprocess.DEVNULL)
    # Each frame names its module, also where its source line is known; reports on others don't fail the run.
    log = f"log_path={folder / 'report'}:halt_on_error=0:exitcode=0"
    log += ":stack_trace_format='    #%n %f %S (%m+%o)'"
    return {
        **os.environ,
        "HETC_LIBRARY": str(build / "libhetc_ops.so"),
        "LD_PRELOAD": ":".join(found),
        "ASAN_OPTIONS": log,
        "UBSAN_OPTIONS": f"{log}:print_stacktrace=1",
        "TSAN_OPTIONS": f"{log}:history_size=4",
    }


def run_tests(files: list[str], environment: dict[str, str], folder: Path) -> None:
    """Assert that the tests pass, to the last one, and that nothing is reported."""
    command = [sys.executable, "-m", "pytest", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, *(str(HERE / name) for name in files)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert not reports_in(folder)
    finished = re.search(r"^\d+ passed", done.stdout, re.M)
    assert done.returncode == 0 and finished, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_addresses_and_undefined_behaviour(tmp_path: Path) -> None:
    """Out of bounds, use after free, leaks, overflow, bad shifts and casts, in every operator test."""
    files = sorted(file.name for file in HERE.glob("test_*.py"))
    files = [name for name in files if name not in ("test_sanitizers.py", "test_library.py")]
    environment = sanitized("address,undefined", ["libasan.so", "libubsan.so"], tmp_path)
    run_tests(files, environment, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_threads(tmp_path: Path) -> None:
    """Data races between the threads of a session, and between sessions."""
    files = ["test_kernel_sessions.py", "test_concurrency.py"]
    run_tests(files, sanitized("thread", ["libtsan.so"], tmp_path), tmp_path)


def test_whose_report(tmp_path: Path) -> None:
    """What counts: the library's own accesses, not ONNX Runtime's on memory that the library saw once."""
    races = [RACE.replace("first.so", name) for name in ("libhetc_ops.so", "onnxruntime.so", "libc.so.6")]
    (tmp_path / "report.1").write_text("==================\n".join(races))
    assert len(reports_in(tmp_path)) == 1
    leak = "Direct leak of 8 byte(s):\n    #0 malloc <null> (/lib/libasan.so+0x1)\n    #1 f ({}+0x2)\n"
    overflow = "==7==ERROR: AddressSanitizer: overflow\nREAD of size 4\n    #0 g a.cc:3 ({}+0x5)\n\nfreed\n"
    for text in (leak, overflow):
        (tmp_path / "report.1").write_text(
            text.format("/build/libhetc_ops.so") + "\n" + text.format("libpython.so")
        )
        assert len(reports_in(tmp_path)) == 1
    (tmp_path / "report.1").write_text(
        "/src/crossbar.cc:3:1: runtime error: division by zero\n    #0 f (a.so+0x1)\n"
    )
    assert len(reports_in(tmp_path)) == 1
