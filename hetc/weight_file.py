"""Writes the weight file of a model, one tensor after another."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import onnx_ir as ir

__all__ = ["EXTERNAL_ABOVE", "WeightFile"]

EXTERNAL_ABOVE = 1 << 12
"""Bytes above which a tensor that a model keeps inline moves into its weight file."""
ALIGNMENT = 1 << 12
"""A page: runtimes map a tensor where it lies."""


class WeightFile:
    """ONNX external data in the making; a context manager.

    Args:
        path: The file to write.
        folder: Folder of the model; tensors are named relative to it.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.folder = path, folder
        self._file = path.open("wb")

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, name: str, values: np.ndarray) -> ir.ExternalTensor:
        """Appends an array and returns the tensor that lies there."""
        return self._append(name, values, ir.DataType.from_numpy(values.dtype), ir.Shape(values.shape))

    def take(self, graph: ir.Graph) -> None:
        """Brings every large initializer that isn't here yet into the file."""
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor):
                source = Path(tensor.base_dir, tensor.location)
                if source == self.path:
                    continue
                stored: np.ndarray = np.memmap(source, np.uint8, "r", tensor.offset or 0, (tensor.nbytes,))
            elif tensor is not None and tensor.nbytes > EXTERNAL_ABOVE:
                stored = np.frombuffer(tensor.tobytes(), np.uint8)
            else:
                continue
            value.const_value = self._append(name, stored, tensor.dtype, ir.Shape(tensor.shape.numpy()))

    def _append(self, name: str, data: np.ndarray, dtype: ir.DataType, shape: ir.Shape) -> ir.ExternalTensor:
        self._file.seek(-self._file.tell() % ALIGNMENT, 1)
        offset = self._file.tell()
        np.ascontiguousarray(data).tofile(self._file)
        location = self.path.relative_to(self.folder).as_posix()
        return ir.ExternalTensor(
            location, offset, data.nbytes, dtype, shape=shape, name=name, base_dir=self.folder
        )
