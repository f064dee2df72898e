"""One thing that was looked at, as `verify` and `doctor` report it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        name: What was looked at.
        status: `ok`, `failed` or `not run`.
        detail: What was seen.
        mend: The command that mends it; empty where there is nothing to mend.
    """

    name: str
    status: str
    detail: str
    mend: str = ""
