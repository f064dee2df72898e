"""One thing that was looked at, as `verify` and `doctor` report it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True)
class Check:
    """Attributes: its name, `status` (`ok`, `failed` or `not run`), and what was seen."""

    name: str
    status: str
    detail: str
