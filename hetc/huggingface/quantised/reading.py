"""Which tensors a checkpoint has, quantised or not: `checkpoint_tensors`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError
from hetc.huggingface.checkpoint import StoredTensor, read_checkpoint
from hetc.huggingface.quantised.awq import AWQ
from hetc.huggingface.quantised.bitsandbytes import BITSANDBYTES
from hetc.huggingface.quantised.compressed import COMPRESSED
from hetc.huggingface.quantised.fp8 import FP8
from hetc.huggingface.quantised.gguf_config import model_config, write_text_files
from hetc.huggingface.quantised.gguf_file import GgufFile
from hetc.huggingface.quantised.gguf_tensors import gguf_tensors
from hetc.huggingface.quantised.gptq import GPTQ
from hetc.huggingface.quantised.mxfp4 import MXFP4
from hetc.huggingface.quantised.packed_tensor import UNFIT, PackedTensor, plain
from hetc.huggingface.quantised.scheme import Format, Settings
from hetc.model.generation_config import CONFIG, read_config

__all__ = ["FORMATS", "checkpoint_tensors", "forget_quantisation", "quantisation", "read_gguf"]

FORMATS: Mapping[str, Format] = {
    "mxfp4": MXFP4,
    "fp8": FP8,
    "compressed-tensors": COMPRESSED,
    "gptq": GPTQ,
    "awq": AWQ,
    "bitsandbytes": BITSANDBYTES,
}
"""By `quant_method`."""

# compressed-tensors wrote its first checkpoints under a key of its own.
KEYS = ("quantization_config", "compression_config")


def quantisation(folder: Path) -> Settings | None:
    """How a checkpoint is quantised, as its configuration says.

    Raises:
        InvalidInputError: In a way that hetc doesn't know.
    """
    file = folder / CONFIG
    for part in _parts(read_config(file)):
        values = next((part[key] for key in KEYS if part.get(key)), None)
        if values is None:
            continue
        if not isinstance(values, dict):
            raise InvalidInputError(f"{file}: quantization_config is {type(values).__name__}, no JSON object")
        settings = Settings(file, values)
        if values.get("quant_method") not in tuple(FORMATS):  # it may be a list, which no key is
            settings.refuse("quant_method", values.get("quant_method"), ", ".join(FORMATS))
        return settings
    return None


def forget_quantisation(folder: Path) -> None:
    """Take it out of a folder's config.json: the weights there are values."""
    file = folder / CONFIG
    config = read_config(file)
    if any(key in part for part in _parts(config) for key in KEYS):
        for part in _parts(config):
            for key in KEYS:
                part.pop(key, None)
        file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _parts(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A configuration, and the part about text of a model that takes more than text."""
    yield config
    if isinstance(config.get("text_config"), dict):
        yield config["text_config"]


def checkpoint_tensors(folder: Path) -> Mapping[str, StoredTensor | PackedTensor]:
    """The tensors of a checkpoint folder by their names in one that isn't quantised; no weight is read.

    Raises:
        InvalidInputError: Damaged files, or a quantisation that hetc doesn't know.
    """
    tensors = read_checkpoint(folder)
    settings = quantisation(folder)
    if settings is None:
        return tensors
    return unpacked(settings, FORMATS[settings.values["quant_method"]], tensors)


def read_gguf(path: Path, directory: Path) -> Mapping[str, PackedTensor]:
    """The tensors of a GGUF file by transformers' names; the model's text files go into a folder.

    Raises:
        InvalidInputError: A damaged file, or a family or type that hetc doesn't read from GGUF.
        RuntimeMissingError: The package `gguf` is missing.
    """
    file = GgufFile(path)
    config = model_config(file)
    write_text_files(file, config, directory)
    return gguf_tensors(file, config)


def unpacked(
    settings: Settings, form: Format, tensors: Mapping[str, StoredTensor]
) -> dict[str, PackedTensor]:
    """All tensors as packed ones, those that are in no group of parts as they are."""
    form.check(settings)
    groups = _groups(form, tensors)
    parts = {part.name for group in groups.values() for part in group.values()}
    found = {name: plain(tensor) for name, tensor in tensors.items() if name not in parts}
    for base, group in groups.items():
        missing = [base + ending for ending in form.needed if ending not in group]
        if missing:
            file = next(iter(group.values())).file
            raise InvalidInputError(f"{file}: {missing[0]!r} is missing, a part of the quantised {base}")
        try:
            tensor = form.pack(settings, base, group)
        except (*UNFIT, re.error) as error:
            raise InvalidInputError(f"{next(iter(group.values())).file}: {base}: {error}") from error
        found[tensor.name] = tensor
    return found


def _groups(form: Format, tensors: Mapping[str, StoredTensor]) -> dict[str, dict[str, StoredTensor]]:
    """The parts of each quantised tensor, by its name without endings."""
    endings = sorted((ending for ending in form.endings if ending), key=len, reverse=True)
    groups: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in tensors.items():
        ending = next((one for one in endings if name.endswith(one)), None)
        if ending:
            groups.setdefault(name.removesuffix(ending), {})[ending] = tensor
    if "" in form.endings:
        for base, group in groups.items():
            if base in tensors:
                group[""] = tensors[base]
    return {base: group for base, group in groups.items() if form.needed[0] in group}
