"""Checks a word that a user gives against the closed set that it must be from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from hetc.base.errors import UsageError

__all__ = ["choose"]

Word = TypeVar("Word", bound=str)


def choose(name: str, value: str, words: Iterable[Word]) -> Word:
    """The word of the set that equals `value`.

    Args:
        name: What is chosen, for the message.
        value: The user's word.
        words: The set.

    Raises:
        UsageError: None does; the message lists all.
    """
    known = tuple(words)
    for word in known:
        if word == value:
            return word
    raise UsageError(f"{name} {value!r} is not known; choose one of {', '.join(known)}")
