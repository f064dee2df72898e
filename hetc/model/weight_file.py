"""Writes the weight file of a model, one tensor after another."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import TracebackType

import numpy as np
import onnx_ir as ir

from hetc.base.bring_files import bring_files
from hetc.base.errors import UsageError
from hetc.model.external_tensors import data_file, external_tensors, tensor_at, tensor_slots

__all__ = ["EXTERNAL_ABOVE", "WeightFile", "weights_folder"]

EXTERNAL_ABOVE = 1 << 12
"""Bytes above which a tensor that a model keeps inline moves into its weight file."""
ALIGNMENT = 1 << 12
"""A page: runtimes map a tensor where it lies."""
COMPUTED = "computed.hetc.bin"
"""Where `weights_folder` puts what no file holds."""


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
        return self._append(ir.tensor(values, name=name), values)

    def take(self, model: ir.Model) -> None:
        """Brings every tensor of another file, and every large initializer, into the file."""
        self.take_from(model, {data_file(tensor) for _, tensor in external_tensors(model)} - {self.path})
        self.take_inline(model)

    def take_from(self, model: ir.Model, files: Collection[Path]) -> None:
        """Brings the tensors that lie in some files into this one."""
        for slot, tensor in external_tensors(model):
            if data_file(tensor) in files:
                slot.replace(self._append(tensor, _stored(tensor)))

    def take_inline(self, model: ir.Model) -> None:
        """Brings every large initializer that the model holds itself into the file."""
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, (ir.ExternalTensor, ir.StringTensor, type(None))):
                continue
            if tensor.nbytes > EXTERNAL_ABOVE:
                value.const_value = self._append(tensor, np.frombuffer(tensor.tobytes(), np.uint8))

    def _append(self, tensor: ir.TensorProtocol, data: np.ndarray) -> ir.ExternalTensor:
        self._file.seek(-self._file.tell() % ALIGNMENT, 1)
        offset = self._file.tell()
        np.ascontiguousarray(data).tofile(self._file)
        location = self.path.relative_to(self.folder).as_posix()
        return tensor_at(tensor, location, offset, data.nbytes, self.folder)


def weights_folder(model: ir.Model, folder: Path, workspace: Path) -> Path:
    """The folder in which a session finds all weights of a model that was never saved.

    That is the model's own, unless some weights are computed when they are read, such as dequantised experts:
    these are written into the workspace, and the files of all others are linked or copied there.

    Args:
        model: The model; its tensors are told where they lie.
        folder: Where its external tensors lie now.
        workspace: An empty folder for what has to be written; the session may outlive it.
    """
    if not any(isinstance(slot.tensor, ir.LazyTensor) for slot in tensor_slots(model)):
        return folder
    targets = {data_file(tensor): workspace / tensor.location for _, tensor in external_tensors(model)}
    try:
        bring_files(targets, link=True)
    except UsageError:  # another file system, or another user's files
        bring_files(targets, link=False)
    for slot, tensor in external_tensors(model):
        slot.replace(tensor_at(tensor, str(tensor.location), tensor.offset, tensor.length, workspace))
    with WeightFile(workspace / COMPUTED, workspace) as weights:
        weights.take_inline(model)
    return workspace


def _stored(tensor: ir.ExternalTensor) -> np.ndarray:
    """The bytes of a tensor, mapped."""
    if not tensor.nbytes:
        return np.empty(0, np.uint8)
    return np.memmap(data_file(tensor), np.uint8, "r", tensor.offset or 0, (tensor.nbytes,))
