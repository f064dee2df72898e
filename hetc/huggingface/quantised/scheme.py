"""What a format of quantised checkpoints is: the endings of tensors' names, and how a tensor is packed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hetc.base.errors import InvalidInputError
from hetc.huggingface.quantised.packed_tensor import PackedTensor, Stored

__all__ = ["Format", "Settings"]


@dataclass(frozen=True)
class Settings:
    """The `quantization_config` of a checkpoint's config.json.

    Attributes:
        file: That config.json.
        values: The object.
    """

    file: Path
    values: Mapping[str, Any]

    def number(self, key: str, taken: tuple[int, ...]) -> int:
        """The whole number at a key.

        Raises:
            InvalidInputError: It is none of `taken`; empty takes all.
        """
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or (taken and value not in taken):
            self.refuse(key, value, ", ".join(map(str, taken)) or "a whole number")
        return value

    def refuse(self, key: str, value: object, taken: str) -> NoReturn:
        """Raises `InvalidInputError` that names a key, its value and what would be taken."""
        raise InvalidInputError(
            f"{self.file}: quantization_config.{key} is {value!r}; hetc export takes {taken}. "
            "Export the checkpoint that this one was quantised from, or one in another format"
        )


@dataclass(frozen=True)
class Format:
    """A format of quantised checkpoints.

    Attributes:
        endings: The parts of a tensor have its module's (or its own) name and one of these. The empty one
            belongs to a name only where another part does.
        needed: Those of them that every quantised tensor has; the first one tells that it is one.
        pack: From settings, the name without endings, and the parts' places: the tensor.
        check: Refuses settings that are not supported; once per checkpoint.
    """

    endings: tuple[str, ...]
    needed: tuple[str, ...]
    pack: Callable[[Settings, str, Stored], PackedTensor]
    check: Callable[[Settings], None] = lambda settings: None
