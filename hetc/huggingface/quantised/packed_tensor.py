"""A tensor of a quantised checkpoint: stored tensors, and the function that makes its values of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hetc.base.errors import InvalidInputError
from hetc.base.holes import is_hole
from hetc.huggingface.checkpoint import StoredTensor
from hetc.huggingface.quantised.kept import Groups, as_blocks, why_not_kept

__all__ = ["UNFIT", "PackedTensor", "Parts", "Stored", "load", "plain"]

Stored = Mapping[str, StoredTensor]
"""Where the parts of a tensor are, by the ending of their names: `_blocks`, `.scales`, ..."""

Parts = Mapping[str, torch.Tensor]
"""The parts of a tensor in memory."""

UNFIT = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, RuntimeError)
"""What torch and the formats' libraries raise where parts or settings are not what they expect."""

TORCH_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""As safetensors spells them."""


@dataclass(frozen=True)
class PackedTensor:
    """A tensor whose values are made when they are asked for, and kept by nobody.

    Attributes:
        name: The name that it has in a checkpoint that isn't quantised.
        shape: Of its values; those of a stack of experts have three axes, experts first.
        stored: Where its parts are.
        unpack: Makes the values of all parts: of `shape`, or of one expert's.
        kept: How it can stay packed in an export, or why it can't; None for a tensor that isn't quantised.
        zeros_stay: Whether values are 0 where all parts are, as they are in a file's holes.
    """

    name: str
    shape: tuple[int, ...]
    stored: Stored
    unpack: Callable[[Parts], torch.Tensor]
    kept: Groups | str | None = "ONNX Runtime has no product with such weights"
    zeros_stay: bool = False

    @property
    def file(self) -> Path:
        """The file that holds its first part."""
        return next(iter(self.stored.values())).file

    def read(self) -> torch.Tensor:
        """All of its values.

        Raises:
            InvalidInputError: Parts that don't fit each other.
        """
        return self._checked(self.shape, {ending: load(part) for ending, part in self.stored.items()})

    @property
    def unkept(self) -> str:
        """Why it can't stay packed; empty if it can."""
        return why_not_kept(self.kept, self.shape) if isinstance(self.kept, Groups) else self.kept or "plain"

    def blocks(self) -> tuple[int, int, list[torch.Tensor]]:
        """Bits, block size and parts of what MatMulNBits reads; only where `unkept` is empty.

        Raises:
            InvalidInputError: Parts that don't fit each other.
        """
        assert isinstance(self.kept, Groups)
        try:
            found = self.kept.numbers({ending: load(part) for ending, part in self.stored.items()})
            if found.numbers.shape != self.shape:
                raise ValueError(f"they make {list(found.numbers.shape)}, not {list(self.shape)}")
            return self.kept.bits, *as_blocks(self.kept, found)
        except UNFIT as error:
            raise self._unfit(error) from error

    def missing_values(self) -> torch.Tensor | None:
        """For values that are 0 because no part was ever written: their shape and type, on `meta`.

        Raises:
            InvalidInputError: Parts that don't fit each other.
        """
        if not self.zeros_stay or not all(map(_is_missing, self.stored.values())):
            return None
        parts = {
            ending: torch.empty(part.shape, dtype=_torch_type(part), device="meta")
            for ending, part in self.stored.items()
        }
        return self._checked(self.shape, parts)

    def read_experts(self) -> Iterator[torch.Tensor]:
        """The values of one expert of a stack after the other: a layer's stack can be larger than memory.

        Raises:
            InvalidInputError: Parts that don't fit each other.
        """
        count = self.shape[0]
        shared = {end: load(part) for end, part in self.stored.items() if part.shape[:1] != (count,)}
        for index in range(count):
            own = {end: load(part, index) for end, part in self.stored.items() if end not in shared}
            yield self._checked(self.shape[1:], {**shared, **own})

    def _checked(self, shape: tuple[int, ...], parts: Parts) -> torch.Tensor:
        try:
            values = self.unpack(parts)
            if values.shape != shape:
                raise ValueError(f"they make {list(values.shape)}, not {list(shape)}")
        except UNFIT as error:
            raise self._unfit(error) from error
        return values

    def _unfit(self, error: Exception) -> InvalidInputError:
        sizes = ", ".join(f"{part.name} {list(part.shape)}" for part in self.stored.values())
        return InvalidInputError(
            f"{self.file}: the parts of {self.name} don't fit each other ({sizes}): {error}; "
            "the file is damaged, or quantised in another way than its configuration says"
        )


def plain(stored: StoredTensor) -> PackedTensor:
    """A tensor that is its only part, as it is."""
    return PackedTensor(
        stored.name, stored.shape, {"": stored}, lambda parts: parts[""], kept=None, zeros_stay=True
    )


def load(stored: StoredTensor, index: int | None = None) -> torch.Tensor:
    """A stored tensor, or the one of this index in a stack. Read, not mapped: its pages go when it goes.

    Raises:
        InvalidInputError: A type that torch doesn't have, or fewer bytes than the shape needs.
    """
    dtype = _torch_type(stored)
    shape, offset, length = stored.shape, stored.offset, stored.length
    if index is not None:
        shape, length = shape[1:], length // shape[0]
        offset += index * length
    if length == 0:
        return torch.empty(shape, dtype=dtype)
    content = np.fromfile(stored.file, np.uint8, count=length, offset=offset)
    return torch.from_numpy(content).view(dtype).reshape(shape)


def _torch_type(stored: StoredTensor) -> torch.dtype:
    dtype = TORCH_TYPES.get(stored.dtype)
    if dtype is None or stored.length != math.prod(stored.shape) * dtype.itemsize:
        raise InvalidInputError(
            f"{stored.file}: tensor {stored.name!r} is {stored.dtype} {list(stored.shape)} in "
            f"{stored.length} bytes; hetc reads {', '.join(TORCH_TYPES)}"
        )
    return dtype


def _is_missing(stored: StoredTensor) -> bool:
    with stored.file.open("rb") as file:
        return is_hole(file.fileno(), stored.offset, stored.length)
