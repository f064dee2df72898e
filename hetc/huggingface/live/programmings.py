"""What stays programmed while a model is open, so that plans applied one after another share it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar

import torch

__all__ = ["Programmings", "Sized"]

CPU_LIMIT = 2 * 2**30


class Sized(Protocol):
    """Programmed crossbars of any kind."""

    @property
    def bytes(self) -> int:
        """What they take of the memory."""


Programmed = TypeVar("Programmed", bound=Sized)


class Programmings:
    """Programmed crossbars by what they were programmed from; the ones used longest ago make room.

    Its owner is whoever keeps the model: keys name the model's parameters by their identity.
    """

    def __init__(self, limit: int) -> None:
        """Args: limit: Bytes that all together may take."""
        self.limit = limit
        self._held: OrderedDict[Hashable, Sized] = OrderedDict()

    @classmethod
    def on(cls, device: torch.device) -> Programmings:
        """With half of what a GPU's memory has left, or 2 GiB of a computer's."""
        free = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else CPU_LIMIT
        return cls(free)

    def get(self, key: Hashable, program: Callable[[], Programmed]) -> Programmed:
        """What was programmed for the key, or is now.

        Args:
            key: Weights, streams, and everything else that enters.
            program: Programs them. What takes more than the limit is not kept.
        """
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]  # type: ignore[return-value]
        made = program()
        if made.bytes <= self.limit:
            self._held[key] = made
        while sum(one.bytes for one in self._held.values()) > self.limit:
            self._held.popitem(last=False)
        return made
