"""Ctrl-C and a termination leave nothing behind, at whatever step they come."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from command_line import hetc, python_process
from models import saved_moe_model

from hetc.base.output_lock import names_beside

SCRIPT = """
import os, signal, sys, time
from importlib import import_module
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
module, name, number, *arguments = sys.argv[1:]
owner = import_module(module)
wrapped = getattr(owner, name)
def interrupted(*given, **named):
    os.kill(os.getpid(), int(number))
    time.sleep(5)
    return wrapped(*given, **named)
setattr(owner, name, interrupted)
from hetc.cli.main import main
sys.argv = ["hetc", *arguments]
main()
"""


def interrupt(step: tuple[str, str], number: int, *arguments: object) -> int:
    """The exit code of a command that gets the signal when it comes to `step`."""
    result = python_process(SCRIPT, *step, int(number), *arguments)
    assert "Traceback" not in result.stderr
    return result.returncode


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_moe_model(tmp_path_factory.mktemp("interrupt"))


STEPS = [
    ("hetc.model.weights", "recall"),
    ("hetc.base.bring_files", "_copy"),
    ("hetc.bundle.writer", "save_model"),
    ("hetc.bundle.writer", "finish_bundle"),
    ("hetc.base.output", "_replace"),
]


@pytest.mark.parametrize(
    ("number", "code", "step"),
    [*((signal.SIGINT, 130, step) for step in STEPS), (signal.SIGTERM, 143, STEPS[2])],
)
def test_compile(tmp_path: Path, model: Path, number: int, code: int, step: tuple[str, str]) -> None:
    output = tmp_path / "out.hetc"
    assert interrupt(step, number, "compile", model, "-o", output) == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_there_is_no_half_bundle(tmp_path: Path, model: Path, step: tuple[str, str]) -> None:
    """Only a folder of what was done so far may stay, which the next compile removes."""
    output = tmp_path / "out.hetc"
    assert interrupt(step, signal.SIGKILL, "compile", model, "-o", output) == -signal.SIGKILL
    left = list(tmp_path.iterdir())
    hidden = names_beside(output)
    assert all(entry.name.startswith(hidden.prefix) for entry in left)
    assert hidden.lock in left


def test_replacing_keeps_the_old_bundle(tmp_path: Path, model: Path) -> None:
    output = tmp_path / "out.hetc"
    command = ("compile", model, "-o", output)
    assert hetc(*command).returncode == 0
    before = (output / "manifest.json").read_bytes()
    assert interrupt(("hetc.base.output", "_replace"), signal.SIGINT, *command, "--force", "--seed", 1) == 130
    assert list(tmp_path.iterdir()) == [output]
    assert (output / "manifest.json").read_bytes() == before


def test_reading_weights_stops_at_once(tmp_path: Path) -> None:
    """The hashing threads are in the middle of files when the signal comes, and read none to its end."""
    script = (
        "import contextlib, os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\n"
        "from hetc.model import weights\n"
        "blocks = []\n"
        "def advance(read):\n"
        "    blocks.append(read)\n"
        "    if len(blocks) == 10: os.kill(os.getpid(), signal.SIGINT)\n"
        "weights.progress = lambda *_: contextlib.nullcontext(advance)\n"
        "try:\n"
        "    weights._read_files({Path(name): set() for name in sys.argv[1:]})\n"
        "except KeyboardInterrupt:\n"
        "    print(sum(blocks))\n"
    )
    holes = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    for hole in holes:
        with hole.open("wb") as file:
            file.truncate(20 << 30)
    result = python_process(script, *holes)
    assert 0 < int(result.stdout) < 20 << 30
