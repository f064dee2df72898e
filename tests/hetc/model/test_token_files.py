"""Tokens from files: what is read, and what is refused before it is allocated."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import SAMPLE, hetc

from hetc.base.errors import InvalidInputError, RuntimeMissingError, UsageError
from hetc.model.token_files import read_tokens


def test_every_format_gives_the_same_tokens(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    tokens = np.arange(12, dtype=np.uint16).reshape(3, 4)
    np.savez(tmp_path / "a.npz", tokens=tokens)
    np.savez_compressed(tmp_path / "b.npz", tokens=tokens)
    np.save(tmp_path / "c.npy", tokens)
    parquet.write_table(pyarrow.table({"tokens": tokens.reshape(-1)}), tmp_path / "d.parquet")
    parquet.write_table(pyarrow.table({"input_ids": tokens.tolist()}), tmp_path / "e.parquet")
    for file in sorted(tmp_path.iterdir()):
        found = read_tokens(file)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, np.arange(12), err_msg=file.name)


def test_text_needs_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("def f(x):\n    return x\n")
    with pytest.raises(UsageError, match="--tokenizer DIR"):
        read_tokens(tmp_path / "a.txt")
    tokens = read_tokens(tmp_path / "a.txt", SAMPLE)
    np.testing.assert_array_equal(tokens, read_tokens(tmp_path / "a.txt", SAMPLE / "tokenizer.json"))
    assert len(tokens) > 5


def header_only(path: Path, shape: str, dtype: str = "<i8", tail: bytes = b"") -> None:
    """An array that promises more than it holds."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    array = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + tail
    if path.suffix == ".npy":
        path.write_bytes(array)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("tokens.npy", array)


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "is not an"),
        (lambda path: path.write_bytes(b"PK\x03\x04garbage"), "is not an"),
        (lambda path: header_only(path, "(10000000000000,)"), "holds 10000000000000 tokens; at most"),
        (lambda path: header_only(path, "(1000,)", tail=b"12345678"), "promises 1000 numbers"),
        (lambda path: header_only(path, "(4,)", "|O", b"pickle"), "not integers"),
        (lambda path: header_only(path, "(4,)", "<f4", bytes(16)), "float32, not integers"),
        (lambda path: header_only(path, "(-4,)", tail=bytes(32)), "promises -4"),
        (lambda path: header_only(path, "(0,)"), "holds no tokens"),
        (lambda path: header_only(path, "__import__('os').abort()"), "is not an"),
        (lambda path: path.mkdir(), "is a folder"),
        (os.mkfifo, "no regular file"),
    ],
)
def test_damaged_arrays(tmp_path: Path, suffix: str, write: Callable[[Path], object], message: str) -> None:
    path = tmp_path / f"tokens{suffix}"
    write(path)
    with pytest.raises(InvalidInputError, match=message):
        read_tokens(path)


def test_an_archive_that_is_cut_off_anywhere(tmp_path: Path) -> None:
    whole = io.BytesIO()
    np.savez(whole, tokens=np.arange(20))
    for length in range(len(whole.getvalue()) - 1):
        (tmp_path / "a.npz").write_bytes(whole.getvalue()[:length])
        with pytest.raises(InvalidInputError):
            read_tokens(tmp_path / "a.npz")


def test_an_archive_without_tokens_names_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", ids=np.arange(3))
    with pytest.raises(InvalidInputError, match="no array named tokens, but ids"):
        read_tokens(tmp_path / "a.npz")


def test_tables_that_hold_no_tokens(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    for table, message in (
        ({"text": ["x"]}, "no column tokens or input_ids, but text"),
        ({"tokens": ["x"]}, "holds string, not integers"),
        ({"tokens": [1, None]}, "with gaps, not integers"),
    ):
        parquet.write_table(pyarrow.table(table), path)
        with pytest.raises(InvalidInputError, match=message):
            read_tokens(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(InvalidInputError, match="not a Parquet file"):
        read_tokens(path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").touch()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(RuntimeMissingError, match=r"pip install '.\[sweep\]'` in a checkout"):
        read_tokens(tmp_path / "a.parquet")


def test_tokens_command(tmp_path: Path) -> None:
    for name, text in (("a.txt", "import os\n"), ("b.txt", "class A:\n    pass\n")):
        (tmp_path / name).write_text(text)
    made = hetc("tokens", "a.txt", "b.txt", "--tokenizer", SAMPLE, "-o", "out.npz", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    each = [read_tokens(tmp_path / name, SAMPLE) for name in ("a.txt", "b.txt")]
    np.testing.assert_array_equal(read_tokens(tmp_path / "out.npz"), np.concatenate(each))
    again = hetc("tokens", "a.txt", "--tokenizer", SAMPLE, "-o", "out.npz", cwd=tmp_path)
    assert again.returncode == 2 and "--force" in again.stderr
    (tmp_path / "c.txt").write_bytes(b"\xff")
    bad = hetc("tokens", "c.txt", "--tokenizer", SAMPLE, "-o", "c.npz", cwd=tmp_path)
    assert bad.returncode == 3 and "c.txt is not UTF-8" in bad.stderr
    assert not (tmp_path / "c.npz").exists()


@pytest.mark.parametrize("content", [None, "", "{}", "[" * 5000])
def test_tokenizers_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "a.txt").write_text("text")
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InvalidInputError, match=r"tokenizer\.json"):
        read_tokens(tmp_path / "a.txt", tmp_path)


def test_data_may_be_text_wherever_tokens_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("import os\n" * 30)
    model = tmp_path / "model.onnx"  # without its tokenizer
    for name in ("model.onnx", "model.safetensors"):
        shutil.copy(SAMPLE / name, tmp_path)
    made = hetc("calibrate", model, "--data", "a.txt", "--window", 32, "-o", "c", cwd=tmp_path)
    assert made.returncode == 2 and "--tokenizer" in made.stderr
    options = ("--data", "a.txt", "--tokenizer", SAMPLE, "--window", 32, "-o", "c")
    made = hetc("calibrate", model, *options, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
