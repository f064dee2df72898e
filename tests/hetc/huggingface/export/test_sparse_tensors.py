"""Holes of a quantised checkpoint stay holes: they are neither read nor written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from hetc.base.errors import InvalidInputError  # noqa: E402
from hetc.huggingface.checkpoint import StoredTensor  # noqa: E402
from hetc.huggingface.export import tensor_files  # noqa: E402
from hetc.huggingface.export.tensor_files import TensorFiles, converted_files  # noqa: E402
from hetc.huggingface.quantised.fp8 import FP8  # noqa: E402
from hetc.huggingface.quantised.packed_tensor import PackedTensor, plain  # noqa: E402
from hetc.huggingface.quantised.scheme import Settings  # noqa: E402

SIZE = 1024
SETTINGS = Settings(Path("config.json"), {"weight_block_size": [128, 128]})
SCALE = 1 << 21
"""Where the scales lie: behind the weight, at the start of a block."""


def stored(path: Path, dtype: str, shape: tuple[int, ...], offset: int, item: int) -> StoredTensor:
    return StoredTensor("w", path, dtype, shape, offset, shape[0] * shape[1] * item)


def packed(folder: Path, grid: int = 8) -> PackedTensor:
    path = folder / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(2 * SCALE)
    parts = {
        "": stored(path, "F8_E4M3", (SIZE, SIZE), 0, 1),
        "_scale_inv": stored(path, "F32", (grid, grid), SCALE, 4),
    }
    return FP8.pack(SETTINGS, "w", parts)


def blocks(folder: Path) -> int:
    """Bytes that the converted files take on disk."""
    return sum(file.stat().st_blocks for file in converted_files(folder)) * 512


def test_a_weight_that_was_never_written(tmp_path: Path) -> None:
    with TensorFiles(tmp_path) as files:
        place = files.settle(packed(tmp_path))
    assert (place.dtype, place.shape, place.length) == ("BF16", (SIZE, SIZE), 2 * SIZE * SIZE)
    assert place.file.read_bytes()[place.offset :] == bytes(place.length)
    assert blocks(tmp_path) == 0


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tensor = packed(tmp_path)
    for offset, one in ((5, b"\x38"), (SCALE, b"\0\0\x80\x3f")):  # 1 as float8, and as float32
        with tensor.file.open("r+b") as file:
            file.seek(offset)
            file.write(one)
        assert tensor.missing_values() is None
    with TensorFiles(tmp_path) as files:
        place = files.settle(tensor)
    values = torch.frombuffer(bytearray(place.file.read_bytes()), dtype=torch.bfloat16)
    assert values.nonzero().tolist() == [[5]]
    assert blocks(tmp_path) >= place.length


def test_parts_of_a_hole_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="don't fit each other"):
        packed(tmp_path, grid=7).missing_values()


def test_holes_between_values(tmp_path: Path) -> None:
    """Tensors come after each other, wherever a file begins anew."""
    hole = packed(tmp_path)
    ones = torch.ones(4, 4)
    with pytest.MonkeyPatch.context() as patch, TensorFiles(tmp_path) as files:
        patch.setattr(tensor_files, "LARGEST_FILE", 3 * SIZE * SIZE)
        places = [files.settle(hole), files.place("a", ones)]
        files.place("large", torch.ones(SIZE, SIZE))
        places += [files.settle(hole), files.place("b", ones)]
    assert places[0] == places[2]
    assert [place.file.name for place in places] == ["converted.data"] * 3 + ["converted-2.data"]
    assert [file.name for file in converted_files(tmp_path)] == ["converted.data", "converted-2.data"]
    for place in (places[1], places[3]):
        with place.file.open("rb") as file:
            assert os.pread(file.fileno(), place.length, place.offset) == ones.numpy().tobytes()


def test_plain_tensors(tmp_path: Path) -> None:
    tensor = plain(packed(tmp_path).stored["_scale_inv"])
    missing = tensor.missing_values()
    assert missing is not None and (missing.dtype, missing.shape) == (torch.float32, (8, 8))
