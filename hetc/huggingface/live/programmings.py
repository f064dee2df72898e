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

    @property
    def device(self) -> torch.device:
        """Where they lie."""


Programmed = TypeVar("Programmed", bound=Sized)


class Programmings:
    """Programmed crossbars by what they were programmed from; the ones used longest ago make room.

    Its owner is whoever keeps the model: keys name modules of it, as weights may move meanwhile.
    """

    def __init__(self, limit: int | None = None) -> None:
        """Args: limit: Bytes that all on one device may take.

        None for half of what a GPU's memory has left when the first is programmed there, or 2 GiB of a
        computer's.
        """
        self._limit = limit
        self._limits: dict[torch.device, int] = {}
        self._held: OrderedDict[Hashable, Sized] = OrderedDict()

    def limit_on(self, device: torch.device) -> int:
        """Bytes that all on a device may take."""
        if self._limit is not None:
            return self._limit
        if device not in self._limits:
            cuda = device.type == "cuda"
            self._limits[device] = torch.cuda.mem_get_info(device)[0] // 2 if cuda else CPU_LIMIT
        return self._limits[device]

    def get(self, key: Hashable, program: Callable[[], Programmed]) -> Programmed:
        """What was programmed for the key, or is now.

        Args:
            key: The module that has the weights, streams, and everything else that enters.
            program: Programs them. What takes more than the limit is not kept.
        """
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]  # type: ignore[return-value]
        made = program()
        limit = self.limit_on(made.device)
        if made.bytes <= limit:
            self._held[key] = made
        here = [key for key, one in self._held.items() if one.device == made.device]
        while sum(self._held[key].bytes for key in here) > limit:
            del self._held[here.pop(0)]
        return made
