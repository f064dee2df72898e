"""Reads token ids from files: arrays of NumPy, Parquet tables, or text with a tokenizer."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.extras import needs
from hetc.base.output import whole_file
from hetc.base.progress import progress
from hetc.base.reading import read_text, require_file
from hetc.model.tokenizer import load_tokenizer

__all__ = ["MOST_TOKENS", "is_text", "read_tokens", "tokens"]

MOST_TOKENS = 1 << 31
"""Tokens of the largest file that is read: 16 GiB as int64."""

COLUMNS = ("tokens", "input_ids")
"""Names of the column of a Parquet table that holds tokens; the first that is there is read."""

DAMAGED = (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, MemoryError)
"""What NumPy and zipfile raise on files that are damaged, encrypted or packed in another way."""


def read_tokens(path: str | Path, tokenizer: str | Path | None = None) -> NDArray[np.int64]:
    """Token ids of a file, one after the other.

        >>> import hetc
        >>> hetc.read_tokens("samples/tiny_moe/heldout.npz").shape
        (32768,)

    Args:
        path: `.npz` with an array `tokens`, `.npy`, `.parquet` with a column `tokens` or `input_ids` of
            numbers or lists of numbers; a file of any other name is read as UTF-8 text.
        tokenizer: For text: folder with a `tokenizer.json`, or such a file. No special tokens are added.

    Returns:
        Token ids `[tokens]` int64.

    Raises:
        UsageError: No such file, or text without a tokenizer.
        InvalidInputError: Not such a file, tokens that are no whole numbers from 0 on, none at all, or more
            than 2^31 of them.
        RuntimeMissingError: Parquet without pyarrow.
    """
    path = Path(path)
    where = f"data {path}"
    require_file(path, "data")
    read = READERS.get(path.suffix)
    if read is not None:
        tokens = np.asarray(read(path, where)).reshape(-1)
    elif tokenizer is None:
        raise UsageError(
            f"{where} is read as text, which needs a tokenizer (--tokenizer DIR), and so does `hetc tokens`, "
            f"which makes token ids of it; files of token ids end in {', '.join(READERS)}"
        )
    else:
        text = read_text(path, "data")
        tokens = np.array(load_tokenizer(tokenizer).encode(text, add_special_tokens=False).ids, np.int64)
    if not len(tokens):
        raise InvalidInputError(f"{where} holds no tokens")
    return tokens.astype(np.int64)


def tokens(
    texts: str | Path | Sequence[str | Path],
    tokenizer: str | Path,
    output: str | Path | None = None,
    *,
    force: bool = False,
) -> NDArray[np.int64]:
    """Turns text into token ids, file after file, without special tokens.

        >>> import hetc
        >>> _ = open("story.txt", "w").write("def main() -> None:")
        >>> len(hetc.tokens("story.txt", "samples/tiny_moe", "story.npz"))
        8

    Args:
        texts: A file, or several; UTF-8, or what else `read_tokens` takes.
        tokenizer: Folder with a `tokenizer.json`, or such a file.
        output: A file to write, `.npz` with an array `tokens`, which other commands read; None for none.
        force: Replace an existing file.

    Returns:
        Token ids `[tokens]` int64.

    Raises:
        UsageError: No such file, or the output exists or doesn't end in `.npz`.
        InvalidInputError: A text that isn't UTF-8 or has no tokens.
    """
    files = [Path(texts)] if isinstance(texts, (str, Path)) else list(map(Path, texts))
    if output is not None and Path(output).suffix != ".npz":
        raise UsageError(f"output {output}: the name must end in .npz")
    with nullcontext() if output is None else whole_file(Path(output), force=force) as staging:
        parts = []
        with progress("tokenising", len(files)) as advance:
            for file in files:
                parts.append(read_tokens(file, tokenizer))
                advance(1)
        found = np.concatenate(parts)
        if staging is not None:
            with staging.open("wb") as stream:
                np.savez_compressed(stream, tokens=found)
    return found


def is_text(path: Path) -> bool:
    """Whether a file is read as text, going by its name."""
    return path.suffix not in READERS


def _read_npz(path: Path, where: str) -> NDArray[Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            if "tokens.npy" not in archive.namelist():
                names = ", ".join(name.removesuffix(".npy") for name in archive.namelist()[:5])
                raise InvalidInputError(f"{where} has no array named tokens, but {names or 'none at all'}")
            with archive.open("tokens.npy") as file:
                _check_header(file, archive.getinfo("tokens.npy").file_size, where)
        array: NDArray[Any] = np.load(path, allow_pickle=False)["tokens"]
    except (*DAMAGED, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInputError(
            f"{where} is not an .npz file with an array named tokens, which numpy.savez writes: "
            f"{str(error)[:200]}"
        ) from error
    return array


def _read_npy(path: Path, where: str) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            _check_header(file, path.stat().st_size, where)
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except DAMAGED as error:
        raise InvalidInputError(
            f"{where} is not an .npy file, which numpy.save writes: {str(error)[:200]}"
        ) from error
    return array


def _check_header(file: Any, size: int, where: str) -> None:
    """Refuses an array by its header, before anything is allocated for it.

    Raises:
        InvalidInputError: It holds no whole numbers, or too many.
        ValueError: It is no array, or the file hasn't the bytes that it promises.
    """
    version = np.lib.format.read_magic(file)
    read: Callable[[BinaryIO], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version, _unknown_version)
    shape, _, dtype = read(file)
    if not np.issubdtype(dtype, np.integer):
        raise InvalidInputError(f"{where}: tokens are {dtype}, not integers")
    count = math.prod(shape)
    if count > MOST_TOKENS:
        raise InvalidInputError(f"{where} holds {count} tokens; at most {MOST_TOKENS} are read")
    if size - file.tell() != count * dtype.itemsize:
        raise ValueError(f"it promises {count} numbers, and holds {size - file.tell()} bytes")


def _unknown_version(file: BinaryIO) -> Any:
    raise ValueError("its array has a format that numpy.save doesn't use for numbers")


def _read_parquet(path: Path, where: str) -> NDArray[Any]:
    with needs("sweep", f"{where}: Parquet"):
        import pyarrow
        from pyarrow import parquet
    try:
        file = parquet.ParquetFile(path)
        column = next((name for name in COLUMNS if name in file.schema_arrow.names), None)
        if column is None:
            names = ", ".join(file.schema_arrow.names)
            raise InvalidInputError(f"{where} has no column {' or '.join(COLUMNS)}, but {names}")
        flat = file.read([column]).column(column).combine_chunks()
        while pyarrow.types.is_list(flat.type) or pyarrow.types.is_large_list(flat.type):
            flat = flat.flatten()
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidInputError(f"{where} is not a Parquet file: {error}") from error
    if flat.null_count or not pyarrow.types.is_integer(flat.type):
        holes = " with gaps" if flat.null_count else ""
        raise InvalidInputError(f"{where}: column {column} holds {flat.type}{holes}, not integers")
    array: NDArray[Any] = flat.to_numpy(zero_copy_only=False)
    return array


READERS: dict[str, Callable[[Path, str], NDArray[Any]]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".parquet": _read_parquet,
}
