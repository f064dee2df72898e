"""One pass gives the file's hash and the norms of whatever lies in it."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetc.base.errors import InvalidInputError
from hetc.model import weight_pass
from hetc.model.weight_pass import MatrixPlace, measure_file

BYTES = {"FLOAT": 4, "FLOAT16": 2, "BFLOAT16": 2}
SIZE = 3000


@st.composite
def places(draw: st.DrawFn) -> MatrixPlace:
    dtype = draw(st.sampled_from(sorted(BYTES)))
    offset = draw(st.integers(0, SIZE - 100))
    columns = draw(st.integers(1, 12))
    rows = draw(st.integers(1, (SIZE - offset) // (columns * BYTES[dtype])))
    return MatrixPlace(offset, dtype, rows, columns)


def write(path: Path) -> bytes:
    """Small float16 numbers, whichever byte a matrix begins at and whichever type it has."""
    data = bytes([0x2C, 0x2D, 0x2E] * (SIZE // 3))
    path.write_bytes(data)
    return data


@given(st.lists(places(), max_size=6))
@settings(max_examples=30, deadline=None)
def test_any_matrices_at_any_offsets(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[MatrixPlace]
) -> None:
    import onnx_ir as ir

    path = tmp_path_factory.mktemp("pass") / "weights.bin"
    data = write(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weight_pass, "BLOCK", 64)
        read: list[int] = []
        measured = measure_file(path, wanted, read.append)
    assert measured.sha256 == hashlib.sha256(data).hexdigest()
    assert sum(read) == SIZE
    assert set(measured.norms) == set(wanted)
    for place, norms in measured.norms.items():
        matrix = np.frombuffer(data[place.offset : place.end], ir.DataType[place.dtype].numpy())
        wide = matrix.astype(np.float64).reshape(place.rows, place.columns)
        assert norms.row == pytest.approx(np.linalg.norm(wide, axis=1).max(), rel=1e-5)
        assert norms.column == pytest.approx(np.linalg.norm(wide, axis=0).max(), rel=1e-5)


def test_holes_count_as_zeros(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    rows, columns = 1024, 2048
    size = 2 * rows * columns
    whole, half = (MatrixPlace(offset, "FLOAT16", rows, columns) for offset in (0, size))
    with path.open("wb") as file:
        file.truncate(2 * size)
        file.seek(2 * size - 2)
        file.write(np.float16(3).tobytes())
    measured = measure_file(path, [whole, half])
    assert measured.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (measured.norms[whole].row, measured.norms[whole].column) == (0, 0)
    assert (measured.norms[half].row, measured.norms[half].column) == (3, 3)


def test_memory_does_not_grow_with_the_number_of_matrices(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    columns, count = 100_000, 100
    with path.open("wb") as file:
        file.truncate(2 * columns * count)
    wanted = [MatrixPlace(2 * columns * index, "FLOAT16", 1, columns) for index in range(count)]
    tracemalloc.start()
    try:
        assert len(measure_file(path, wanted).norms) == count
        assert tracemalloc.get_traced_memory()[1] < 8 * columns * count / 4
    finally:
        tracemalloc.stop()


def test_a_file_that_changes_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    write(path)

    def append(read: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    with pytest.raises(InvalidInputError, match="changed while it was read"):
        measure_file(path, [], append)


def test_a_file_that_is_cut_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_pass, "BLOCK", 64)
    path = tmp_path / "weights.bin"
    write(path)

    def cut(read: int) -> None:
        with path.open("r+b") as file:
            file.truncate(100)

    with pytest.raises(InvalidInputError, match="ended while it was read"):
        measure_file(path, [], cut)
