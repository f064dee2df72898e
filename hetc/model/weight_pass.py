"""One sequential pass over a weight file gives its sha256 and the norms of the matrices in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path

import numpy as np
import onnx_ir as ir

from hetc.base.errors import InvalidInputError
from hetc.base.holes import is_hole
from hetc.model.matrix_norms import MatrixNorms, NormSums

__all__ = ["FileIdentity", "MatrixPlace", "MeasuredFile", "measure_file"]

BLOCK = 2 << 20
"""Bytes read at a time; two such blocks are in memory."""


@dataclass(frozen=True)
class FileIdentity:
    """What tells, without reading it, that a file is the one it was."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileIdentity:
        """The identity of what `path` leads to."""
        status = path.stat()
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, order=True)
class MatrixPlace:
    """Where a matrix lies in a file, row after row.

    Attributes:
        offset: Its first byte, which may be any.
        dtype: ONNX name of its type: `FLOAT`, `FLOAT16` or `BFLOAT16`.
        rows: Number of rows.
        columns: Number of columns.
    """

    offset: int
    dtype: str
    rows: int
    columns: int

    @property
    def row_bytes(self) -> int:
        """Length of a row."""
        return self.columns * int(ir.DataType[self.dtype].itemsize)

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.rows * self.row_bytes


@dataclass(frozen=True)
class MeasuredFile:
    """What is known of a file that was read.

    Attributes:
        identity: Of the file at that time.
        sha256: Hexadecimal digest of its contents.
        norms: Of the matrices that were asked for.
    """

    identity: FileIdentity
    sha256: str
    norms: dict[MatrixPlace, MatrixNorms]


def measure_file(
    path: Path, matrices: Iterable[MatrixPlace], advance: Callable[[int], None] = lambda read: None
) -> MeasuredFile:
    """Reads a file from beginning to end: one thread hashes while another sums squares.

    Matrices that overlap others are read again, after the pass.

    Args:
        path: The file.
        matrices: The matrices to measure; they lie within the file.
        advance: Called with the number of bytes that were read.

    Raises:
        InvalidInputError: The file changed meanwhile.
    """
    identity = FileIdentity.of(path)
    digest = hashlib.sha256()
    norms = _Norms()
    apart, overlapping = _disjoint(sorted(set(matrices)))
    with path.open("rb", buffering=0) as file:
        for block in _blocks(file, _cover(apart, identity.size), norms):
            digest.update(block)
            advance(len(block))
        while overlapping:
            apart, overlapping = _disjoint(overlapping)
            for _ in _blocks(file, (part for matrix in apart for part in _parts(matrix)), norms):
                pass
    if FileIdentity.of(path) != identity:
        raise InvalidInputError(f"{path} changed while it was read; run the command again")
    return MeasuredFile(identity, digest.hexdigest(), norms.found)


@dataclass(frozen=True)
class _Part:
    """A stretch of a file: rows of a matrix, or bytes that belong to none."""

    offset: int
    length: int
    matrix: MatrixPlace | None = None
    hole: bool = False


class _Norms:
    """Norms of matrices whose rows come in order; of sums, only those of one matrix are kept.

    Attributes:
        found: The norms of all matrices whose rows have come.
    """

    def __init__(self) -> None:
        self.found: dict[MatrixPlace, MatrixNorms] = {}
        self._sums = NormSums(0)

    def add(self, part: _Part, block: memoryview) -> None:
        """Takes the bytes of a part."""
        matrix = part.matrix
        if matrix is None:
            return
        if part.offset == matrix.offset:
            self._sums = NormSums(matrix.columns)
        if not part.hole:
            rows = np.frombuffer(block, ir.DataType[matrix.dtype].numpy()).reshape(-1, matrix.columns)
            self._sums.add(rows)
        if part.offset + part.length == matrix.end:
            self.found[matrix] = self._sums.norms


def _disjoint(matrices: Sequence[MatrixPlace]) -> tuple[list[MatrixPlace], list[MatrixPlace]]:
    """Splits matrices, sorted by place, into some that do not overlap each other, and the others."""
    apart: list[MatrixPlace] = []
    others = []
    for matrix in matrices:
        if apart and matrix.offset < apart[-1].end:
            others.append(matrix)
        else:
            apart.append(matrix)
    return apart, others


def _parts(matrix: MatrixPlace) -> Iterator[_Part]:
    height = max(1, BLOCK // max(1, matrix.row_bytes))
    for row in range(0, matrix.rows, height):
        rows = min(height, matrix.rows - row)
        yield _Part(matrix.offset + row * matrix.row_bytes, rows * matrix.row_bytes, matrix)


def _cover(matrices: Iterable[MatrixPlace], size: int) -> Iterator[_Part]:
    """The whole file, in order."""
    position = 0
    for matrix in matrices:
        yield from _between(position, matrix.offset)
        yield from _parts(matrix)
        position = matrix.end
    yield from _between(position, size)


def _between(start: int, end: int) -> Iterator[_Part]:
    for offset in range(start, end, BLOCK):
        yield _Part(offset, min(BLOCK, end - offset))


def _blocks(file: FileIO, parts: Iterable[_Part], norms: _Norms) -> Iterator[memoryview]:
    """Yields the parts' bytes while another thread adds them to `norms`."""
    buffers = [bytearray(), bytearray()]
    zeros = memoryview(bytes(BLOCK))
    pending: list[Future[None]] = []
    with ThreadPoolExecutor(1) as helper:
        for number, part in enumerate(parts):
            if len(pending) == 2:
                pending.pop(0).result()  # it worked on the buffer that is filled next
            if part.length <= BLOCK and is_hole(file.fileno(), part.offset, part.length):
                part, block = replace(part, hole=True), zeros[: part.length]
            else:
                if len(buffers[number % 2]) < part.length:
                    buffers[number % 2] = bytearray(max(BLOCK, part.length))
                block = memoryview(buffers[number % 2])[: part.length]
                file.seek(part.offset)
                _fill(file, block)
            pending.append(helper.submit(norms.add, part, block))
            yield block
        for one in pending:
            one.result()


def _fill(file: FileIO, block: memoryview) -> None:
    """Reads until `block` is full, and asks for what follows it, so that the disk works meanwhile."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), file.tell() + len(block), len(block), os.POSIX_FADV_WILLNEED)
    done = 0
    while done < len(block):
        count = file.readinto(block[done:])
        if not count:
            raise InvalidInputError(f"{file.name} ended while it was read; run the command again")
        done += count
