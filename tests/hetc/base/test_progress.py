"""Long steps say how far they are, short ones nothing."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from hetc.base import progress as module
from hetc.base.progress import progress, show_progress

SCRIPT = """
import sys, time
from hetc.base import progress as module
module.PATIENCE = float(sys.argv[1])
module.show_progress()
with module.progress("counting sheep", 4) as advance:
    for _ in range(4):
        advance(1)
        time.sleep(0.1)
"""


@pytest.fixture(autouse=True)
def hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._settings, "shown", False)


def said(patience: float) -> str:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(patience)], capture_output=True, text=True, check=True
    )
    assert not result.stdout
    return result.stderr


def test_a_short_step_says_nothing() -> None:
    assert said(patience=60.0) == ""


def test_lines_without_a_terminal() -> None:
    assert re.fullmatch(r"counting sheep: ((25|50|75)%, \d s left|100%)\n", said(patience=0.15))


def test_a_bar_in_a_terminal_is_gone_at_the_end() -> None:
    parent, child = pty.openpty()
    subprocess.run([sys.executable, "-c", SCRIPT, "0.05"], stderr=child, check=True)
    os.close(child)
    shown = os.read(parent, 1 << 16).decode()
    os.close(parent)
    assert "counting sheep" in shown
    assert shown.rstrip().endswith("\x1b[2K")


def test_a_library_is_quiet(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    with progress("counting", 2) as advance:
        advance(2)
    assert capfd.readouterr().err == ""


def test_steps_of_unknown_length_tell_the_time(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=iter((100.0, 107.2)).__next__))
    show_progress()
    shown = ""
    with progress("waiting"):
        while not shown.endswith("\n"):
            time.sleep(0.01)
            shown += capfd.readouterr().err
    assert shown == "waiting: 7 s\n"


@pytest.mark.parametrize(
    ("done", "elapsed", "state"),
    [(0, 5.0, "0%"), (1, 5.0, "25%, 15 s left"), (3, 900.0, "75%, 5 min left"), (4, 60.0, "100%")],
)
def test_steps_of_known_length_tell_the_time_left(done: int, elapsed: float, state: str) -> None:
    assert module._state(done, 4, elapsed) == state


def test_an_error_ends_the_watcher() -> None:
    show_progress()
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), progress("dividing", 1):
        raise ZeroDivisionError
    assert threading.active_count() == before
