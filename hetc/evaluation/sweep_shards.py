"""Shares of a sweep, for machines that share nothing but a file system."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from hetc.base.errors import UsageError

__all__ = ["Shard"]

Part = TypeVar("Part")


@dataclass(frozen=True)
class Shard:
    """One share of several that are as large as each other, give or take one job.

    Attributes:
        number: Which, counted from 1.
        count: Of how many.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads `3/16`.

            >>> Shard.parse("3/16")
            Shard(number=3, count=16)

        Raises:
            UsageError: Not of that form, or a number that the count doesn't allow.
        """
        found = re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", text)
        if found is None:
            raise UsageError(f"shard {text!r} is not NUMBER/COUNT, such as 3/16")
        number, count = map(int, found.groups())
        if not 1 <= number <= count:
            allowed = f"from 1/{count} to {count}/{count}" if count else "such as 3/16"
            raise UsageError(f"shard {text!r} is not one of its count; shards are {allowed}")
        return cls(number, count)

    def of(self, jobs: Sequence[Part]) -> list[Part]:
        """Its jobs: the same ones whatever is done already. Neighbours, which are alike, are far apart.

        >>> Shard(2, 3).of("abcdefgh")
        ['b', 'e', 'h']
        """
        return list(jobs[self.number - 1 :: self.count])

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.number}/{self.count}"
