"""A checkpoint's tensors as torch tensors in the memory of its files, and the places of what they become.

transformers converts many checkpoints on loading: it splits, joins, transposes or interleaves tensors. Run on
tensors that share a file's memory map, its own conversions show what a graph can refer to: a result that is
still a contiguous piece of the map is a place in the checkpoint, and only what isn't is written anew. ONNX
external data is offset and length, so that rows which alternate between two matrices (gpt-oss' gate and up),
or halves of a matrix's columns, cannot stay where they are. Nor can anything of a quantised checkpoint: all
that a graph needs of it is written once, and its own files stay behind.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import torch

from hetc.base.errors import InvalidInputError
from hetc.huggingface.checkpoint import StoredTensor
from hetc.huggingface.quantised.kept import KeptWeight
from hetc.huggingface.quantised.packed_tensor import PackedTensor

__all__ = ["CONVERTED_FILE", "TensorFiles", "converted_files"]

CONVERTED_FILE = "converted.data"
"""The file for tensors that no checkpoint file holds as the graph needs them."""

NEXT_FILE = "converted-{}.data"
LARGEST_FILE = 128 << 30
"""Bytes after which another file begins, so that passes over very large models can share the work."""
ALIGNMENT = 64
PARTS = ("codes", "scales", "zero_points")
"""What is written of a weight that stays packed."""

TORCH_TYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "BOOL": torch.bool,
}
STORED_TYPES = {theirs: ours for ours, theirs in TORCH_TYPES.items()}


def converted_files(directory: Path) -> list[Path]:
    """The files of converted tensors in a folder, `CONVERTED_FILE` and those after it."""
    return sorted(directory.glob(CONVERTED_FILE)) + sorted(directory.glob(NEXT_FILE.format("*")))


class TensorFiles:
    """Maps a checkpoint's files, and writes what they lack to `CONVERTED_FILE`; a context manager.

    Reading happens through the map, page by page: a tensor costs no memory until something computes with it.
    """

    def __init__(self, directory: Path) -> None:
        """Take the folder that `CONVERTED_FILE` is written to, if anything has to be."""
        self._directory = directory
        self._stream: BinaryIO | None = None
        self._count = 0
        self._hole: StoredTensor | None = None
        # By file: the map, and all of its bytes as a tensor, which knows where in memory it begins.
        self._maps: dict[Path, tuple[mmap.mmap, torch.Tensor]] = {}

    def __enter__(self) -> TensorFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        self._maps.clear()

    def read(self, stored: StoredTensor | PackedTensor) -> torch.Tensor:
        """The tensor, in the memory of its file's map; the values of a packed one, in memory of their own."""
        if isinstance(stored, PackedTensor):
            return stored.read()
        if stored.file not in self._maps:
            with stored.file.open("rb") as stream:
                # A private map: torch takes it for writable and doesn't warn; nothing writes to it.
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
            self._maps[stored.file] = mapped, torch.frombuffer(mapped, dtype=torch.uint8)
        dtype = TORCH_TYPES[stored.dtype]
        if stored.length == 0:
            return torch.empty(stored.shape, dtype=dtype)
        mapped, _ = self._maps[stored.file]
        count = stored.length // dtype.itemsize
        return torch.frombuffer(mapped, dtype=dtype, offset=stored.offset, count=count).reshape(stored.shape)

    def read_experts(self, stored: StoredTensor | PackedTensor) -> Iterable[torch.Tensor]:
        """The experts of a stack, one after the other."""
        return stored.read_experts() if isinstance(stored, PackedTensor) else self.read(stored)

    def settle(self, stored: StoredTensor | PackedTensor) -> StoredTensor:
        """Where a tensor is that needs no change; that of a packed one is written now, or left a hole."""
        if not isinstance(stored, PackedTensor):
            return stored
        missing = stored.missing_values()
        return self.place(stored.name, stored.read() if missing is None else missing)

    def keep(self, packed: PackedTensor) -> KeptWeight:
        """A tensor that MatMulNBits can read, written packed."""
        bits, size, parts = packed.blocks()
        places = tuple(
            self._write(f"{packed.name}_{part}", STORED_TYPES.get(tensor.dtype, "U8"), tensor)
            for part, tensor in zip(PARTS, parts, strict=False)
        )
        return KeptWeight(packed.name, packed.shape, places, bits, size)

    def place(self, name: str, tensor: torch.Tensor) -> StoredTensor:
        """Where `tensor` is: in a file of the checkpoint, else written to `CONVERTED_FILE` now.

        One on `meta` is zeros: a hole of the file. All of those share it, so that a checkpoint that was never
        filled takes neither disk nor time.

        Raises:
            InvalidInputError: a type that a graph can't refer to, such as float8.
        """
        if tensor.dtype not in STORED_TYPES:
            raise InvalidInputError(
                f"tensor {name!r} is {str(tensor.dtype).removeprefix('torch.')}, and the checkpoint has no "
                f"scales for it; hetc export takes values of {', '.join(TORCH_TYPES)}"
            )
        dtype, shape = STORED_TYPES[tensor.dtype], tuple(tensor.shape)
        if tensor.is_contiguous() and not tensor.is_meta:
            for file, (_, content) in self._maps.items():
                offset = tensor.data_ptr() - content.data_ptr()
                if 0 <= offset < content.nbytes:
                    return StoredTensor(name, file, dtype, shape, offset, tensor.nbytes)
        if tensor.is_meta and self._hole is not None and tensor.nbytes <= self._hole.length:
            return StoredTensor(name, self._hole.file, dtype, shape, self._hole.offset, tensor.nbytes)
        return self._write(name, dtype, tensor)

    def _write(self, name: str, dtype: str, tensor: torch.Tensor) -> StoredTensor:
        """Appends a tensor to the converted ones, one on `meta` as a hole; where it lies now."""
        stream = self._converted()
        shape = tuple(tensor.shape)
        placed = StoredTensor(name, Path(stream.name), dtype, shape, stream.tell(), tensor.nbytes)
        if tensor.is_meta:
            stream.truncate(stream.seek(tensor.nbytes, os.SEEK_CUR))
            self._hole = placed
        else:
            stream.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        return placed

    def _converted(self) -> BinaryIO:
        """The file that is written, where the next tensor goes."""
        if self._stream is not None and self._stream.tell() > LARGEST_FILE:
            self._stream.close()
            self._stream = None
        if self._stream is None:
            self._count += 1
            name = CONVERTED_FILE if self._count == 1 else NEXT_FILE.format(self._count)
            self._stream = (self._directory / name).open("wb")
        self._stream.write(bytes(-self._stream.tell() % ALIGNMENT))
        return self._stream
