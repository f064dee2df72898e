"""The tensors of a checkpoint folder, by name, as places in its safetensors files; no weight is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.reading import parse_json
from hetc.huggingface.checkpoint_kind import require_no_pointer
from hetc.model.generation_config import read_config
from hetc.model.hub import as_hub_id, is_hub_id, local_path

__all__ = ["StoredTensor", "read_checkpoint", "resolve_source"]

DTYPES = {
    "F32": ir.DataType.FLOAT,
    "F16": ir.DataType.FLOAT16,
    "BF16": ir.DataType.BFLOAT16,
    "I64": ir.DataType.INT64,
    "I32": ir.DataType.INT32,
    "BOOL": ir.DataType.BOOL,
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a checkpoint.

    Attributes:
        name: The checkpoint's name for it.
        file: The safetensors file that holds it.
        dtype: Its type as safetensors spells it, such as `BF16`.
        shape: Its shape.
        offset: Its first byte, from the start of the file.
        length: Its size in bytes.
    """

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int

    def as_external(self, directory: Path) -> ir.ExternalTensor:
        """The tensor as ONNX external data of a model in `directory`, in a file of this tensor's file name.

        Raises:
            InvalidInputError: a type that hetc doesn't read, such as float8.
        """
        if self.dtype not in DTYPES:
            raise InvalidInputError(
                f"{self.file}: tensor {self.name!r} is {self.dtype}; "
                f"save the checkpoint in one of {', '.join(DTYPES)}"
            )
        return ir.ExternalTensor(
            self.file.name,
            self.offset,
            self.length,
            DTYPES[self.dtype],
            shape=ir.Shape(self.shape),
            name=self.name,
            base_dir=directory,
        )


def resolve_source(source: str | Path) -> Path:
    """The local folder of a checkpoint; one of the hub is downloaded (or found in the local cache) first.

    Args:
        source: a folder, `hf://OWNER/NAME[@REVISION][/PATH]`, or `OWNER/NAME`.

    Raises:
        UsageError: neither a folder nor a place on the hub that can be had.
    """
    if is_hub_id(source):
        return local_path(source, "checkpoint")
    folder = Path(source)
    if folder.is_dir():
        return folder
    is_path = isinstance(source, Path) or source.startswith((".", "/", "~")) or source.count("/") > 1
    if folder.exists() or is_path:
        raise UsageError(
            f"{source}: not a folder; give a checkpoint's folder or a hub id such as hf://OWNER/NAME"
        )
    return local_path(as_hub_id(source), "checkpoint")


def read_checkpoint(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of `model.safetensors`, or of the shards that `model.safetensors.index.json` names.

    Raises:
        InvalidInputError: no safetensors file, a missing shard, or a damaged header.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        places = read_config(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
            raise InvalidInputError(f"{index}: weight_map is no object that names a file for each tensor")
        names = sorted(set(places.values()))
    else:
        names = ["model.safetensors"]
    tensors: dict[str, StoredTensor] = {}
    for name in names:
        if Path(name).name != name:
            raise InvalidInputError(f"{index}: the shard {name!r} lies outside the folder")
        tensors.update(_read_header(folder / name))
    if not tensors:
        raise InvalidInputError(f"{folder}: no tensors in its safetensors files")
    return tensors


def _read_header(file: Path) -> dict[str, StoredTensor]:
    """The header: its length in 8 bytes, little-endian, then JSON, then the data that offsets count from."""
    if not file.is_file():
        raise InvalidInputError(f"{file}: missing; the checkpoint needs its weights as safetensors")
    require_no_pointer(file)
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if 8 + length > size:
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = parse_json(stream.read(length), f"{file}: its header")
        tensors = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, end = entry["data_offsets"]
            if not 0 <= start <= end <= size - 8 - length:
                raise ValueError(f"the data of {name!r} ends after the file does; it may be truncated")
            shape = tuple(int(dimension) for dimension in entry["shape"])
            if entry["dtype"] in DTYPES and end - start != math.prod(shape) * DTYPES[entry["dtype"]].itemsize:
                raise ValueError(f"{name!r} has {end - start} bytes for shape {shape} of {entry['dtype']}")
            tensors[name] = StoredTensor(name, file, entry["dtype"], shape, 8 + length + start, end - start)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"{file}: not a valid safetensors file: {error}") from error
    return tensors
