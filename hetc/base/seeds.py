"""The seeds that every command takes."""

from __future__ import annotations

from hetc.base.errors import UsageError

__all__ = ["SEEDS", "check_seed"]

SEEDS = 2**63
"""How many there are: 0 to 2^63 - 1."""


def check_seed(seed: int) -> None:
    """Raises `UsageError` unless a seed is a whole number from 0 to 2^63 - 1."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < SEEDS:
        raise UsageError(f"seed {seed!r} is not a whole number in 0 .. 2^63 - 1")
