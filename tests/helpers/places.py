"""Where the repository's folders are, seen from any test."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ROOT", "SAMPLES", "TESTS"]

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
SAMPLES = ROOT / "samples"
