"""Says on stderr how far a long step is: a bar in a terminal, plain lines elsewhere, nothing under a second.

The command line turns it on; programs that use hetc as a library see it only if they call `show_progress`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["progress", "show_progress"]

PATIENCE = 1.0
"""Seconds that a step may take in silence."""
LINE_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""
REDRAW_EVERY = 0.1


@dataclass
class _Settings:
    shown: bool = False


_settings = _Settings()


def show_progress() -> None:
    """Turns progress on for this process."""
    _settings.shown = True


@contextmanager
def progress(step: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes how much more is done; it may be called from any thread.

    Args:
        step: What is going on, such as `reading weights`.
        total: How much there is to do, in any unit; None where nobody knows.
    """
    if not _settings.shown:
        yield lambda amount: None
        return
    done = 0
    lock = threading.Lock()

    def advance(amount: int) -> None:
        nonlocal done
        with lock:
            done += amount

    ended = threading.Event()
    draw = _draw_bar if sys.stderr.isatty() else _write_lines
    watcher = threading.Thread(target=draw, args=(step, total, lambda: done, ended), daemon=True)
    watcher.start()
    try:
        yield advance
    finally:
        ended.set()
        watcher.join()


def _draw_bar(step: str, total: int | None, done: Callable[[], int], ended: threading.Event) -> None:
    if ended.wait(PATIENCE):
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(step, total=total)
        while not ended.wait(REDRAW_EVERY):
            bar.update(task, completed=done())


def _write_lines(step: str, total: int | None, done: Callable[[], int], ended: threading.Event) -> None:
    start = time.monotonic()
    wait = PATIENCE
    while not ended.wait(wait):
        print(f"{step}: {_state(done(), total, time.monotonic() - start)}", file=sys.stderr, flush=True)
        wait = LINE_EVERY


def _state(done: int, total: int | None, elapsed: float) -> str:
    """How far a step is, and how long it will take if it goes on like that."""
    if not total:
        return f"{elapsed:.0f} s"
    share = f"{done / total:.0%}"
    if not 0 < done < total:
        return share
    left = elapsed * (total - done) / done
    return f"{share}, {left:.0f} s left" if left < 100 else f"{share}, {left / 60:.0f} min left"
