"""How much a model is run on at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from hetc.base.errors import RuntimeMissingError, UsageError

__all__ = ["CPU_TOKENS", "BatchLimit", "BatchSize"]

BatchSize: TypeAlias = int | Literal["auto"]
"""A number of texts, or as many as fit."""

CPU_TOKENS = 2048
"""Tokens at a time that a CPU is given. That is lm-eval's longest text, so that less would save no memory;
more is no faster, but takes memory: the logits of a vocabulary of 50,000 are 400 MB of float32 already."""


@dataclass
class BatchLimit:
    """The most that a model is run on at a time; its results don't depend on that.

    Attributes:
        texts: Texts at most; None for any number.
        tokens: Tokens at most, padding included; None for any number. Falls where memory ran out.
    """

    texts: int | None = None
    tokens: int | None = CPU_TOKENS

    @classmethod
    def of(cls, batch: BatchSize, tokens: int = CPU_TOKENS) -> BatchLimit:
        """What a user's `batch` means where `tokens` fit.

        Raises:
            UsageError: Neither `auto` nor a whole number from 1.
        """
        if batch == "auto":
            return cls(None, tokens)
        if not isinstance(batch, int) or batch < 1:
            raise UsageError(f"batch {batch!r}: give a number of texts, 1 or more, or 'auto'")
        return cls(batch, None)

    def rows(self, length: int) -> int:
        """How many texts of so many tokens are run together: one at least."""
        found = [self.tokens // max(1, length)] if self.tokens is not None else []
        return max(1, min([*found, *([self.texts] if self.texts is not None else [])]))

    def halve(self, rows: int, length: int) -> None:
        """Notes that so many texts of so many tokens took more memory than there is.

        Raises:
            RuntimeMissingError: It was a single one.
        """
        if rows == 1:
            raise RuntimeMissingError(
                f"the device's memory can't hold the model on a single text of {length} tokens; use a device "
                "with more memory, or free what else lies in it"
            )
        self.tokens = rows * length // 2
