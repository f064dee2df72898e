"""A GGUF file, llama.cpp's format: metadata and tensors in one, dequantised by the package `gguf`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hetc.base.errors import InvalidInputError
from hetc.base.extras import needs
from hetc.huggingface.checkpoint import StoredTensor

__all__ = ["GgufFile", "is_gguf"]

WHOLE = {"F32": "F32", "F16": "F16", "BF16": "BF16"}
"""Types of tensors that aren't quantised, and safetensors' words for them."""


def is_gguf(source: str | Path) -> bool:
    """Whether a source is one of these files."""
    return str(source).endswith(".gguf") and Path(source).is_file()


class GgufFile:
    """What a file says about itself.

    Attributes:
        path: The file.
        types: By tensor: its type, such as `Q4_K`.
        shapes: By tensor: the shape of its values, rows first.
        stored: By tensor: its bytes, each row's in one axis where it is quantised.
    """

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            InvalidInputError: A damaged file, one of several, or types that `gguf` can't dequantise.
            RuntimeMissingError: The package `gguf` is missing.
        """
        with needs("quantised", f"{path.name}"):
            from gguf import GGUFReader
        self.path = path
        try:
            reader = GGUFReader(path)
            self._fields = reader.fields
            tensors = list(reader.tensors)
        except Exception as error:  # whatever the package makes of bytes that it doesn't expect
            raise InvalidInputError(f"{path}: not a valid GGUF file: {error}") from error
        if self.get("split.count", 1) > 1:
            raise InvalidInputError(
                f"{path} is one of {self.get('split.count')} files of a model; merge them first, as "
                "llama.cpp's `llama-gguf-split --merge` does"
            )
        self.types = {one.name: one.tensor_type.name for one in tensors}
        self.shapes = {one.name: tuple(int(size) for size in reversed(one.shape)) for one in tensors}
        self.stored = {one.name: self._place(one) for one in tensors}

    def _place(self, tensor: Any) -> StoredTensor:
        from gguf.quants import _type_traits

        kind, shape = tensor.tensor_type, self.shapes[tensor.name]
        if kind.name not in WHOLE:
            if kind not in _type_traits:
                raise InvalidInputError(
                    f"{self.path}: tensor {tensor.name!r} is {kind.name}, which the package gguf can't "
                    "dequantise; quantise the model in another way, such as Q4_K or Q8_0"
                )
            shape = tuple(int(size) for size in tensor.data.shape)
        dtype = WHOLE.get(kind.name, "U8")
        length, offset = int(tensor.n_bytes), int(tensor.data_offset)
        return StoredTensor(tensor.name, self.path, dtype, shape, offset, length)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key of the metadata."""
        field = self._fields.get(key)
        return default if field is None else field.contents()

    def number(self, key: str, default: Any = None) -> Any:
        """The number of a key of the architecture, such as `block_count`.

        Raises:
            InvalidInputError: It isn't there, or no number, and there is no default.
        """
        key = f"{self.architecture}.{key}"
        value = self.get(key, default)
        if not isinstance(value, int | float):
            raise InvalidInputError(f"{self.path}: {key} is {value!r}; hetc export takes a number")
        # Files hold float32; the shortest decimal is what was written into them.
        return float(str(np.float32(value))) if isinstance(value, float) else value

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the family."""
        return str(self.get("general.architecture"))

    def find(self, ending: str) -> Iterable[str]:
        """Names of tensors with an ending."""
        return [name for name in self.shapes if name.endswith(ending)]
