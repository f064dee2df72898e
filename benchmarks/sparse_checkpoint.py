"""Quantised checkpoints of any size whose data are holes, which read as zeros and take no disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from random_checkpoint import Shape

__all__ = ["CONFIGS", "write_sparse_checkpoint"]

GROUP, BLOCK = 128, 128
Stored = tuple[str, str, tuple[int, ...]]
SIZES = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "I64": 8, "U8": 1, "F8_E4M3": 1}
CONFIGS: dict[str, dict[str, Any]] = {
    "fp8": {"weight_block_size": [BLOCK, BLOCK]},
    "gptq": {"bits": 4, "group_size": GROUP},
    "awq": {"bits": 4, "group_size": GROUP, "version": "gemm"},
    "compressed-tensors": {
        "format": "pack-quantized",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": GROUP},
            }
        },
    },
}
"""`quantization_config` by method."""


def parts(method: str, name: str, shape: tuple[int, ...]) -> Iterator[Stored]:
    """What a format stores for one tensor."""
    if len(shape) == 1 or any(kept in name for kept in ("embed", "lm_head", "mlp.gate.weight")):
        yield name, "BF16", shape
        return
    rows, columns = shape
    module = name.removesuffix(".weight")
    if method == "fp8":
        yield name, "F8_E4M3", shape
        yield f"{name}_scale_inv", "F32", (-(-rows // BLOCK), -(-columns // BLOCK))
    elif method == "compressed-tensors":
        yield f"{name}_packed", "I32", (rows, columns // 8)
        yield f"{name}_scale", "BF16", (rows, columns // GROUP)
        yield f"{name}_shape", "I64", (2,)
    else:
        packed = (columns // 8, rows) if method == "gptq" else (columns, rows // 8)
        yield f"{module}.qweight", "I32", packed
        yield f"{module}.qzeros", "I32", (columns // GROUP, rows // 8)
        yield f"{module}.scales", "F16", (columns // GROUP, rows)


def write_sparse_checkpoint(method: str, shape: Shape, folder: Path) -> int:
    """Writes a checkpoint whose data are holes, but for shapes, which are read.

    Returns:
        How many bytes its weights seem to have.
    """
    folder.mkdir(parents=True)
    config = {**shape.config, "quantization_config": {"quant_method": method, **CONFIGS[method]}}
    (folder / "config.json").write_text(json.dumps(config))
    header: dict[str, Any] = {}
    shapes, offset = {}, 0
    for name, dimensions in shape.tensors():
        for part, dtype, size in parts(method, name, dimensions):
            if dtype == "I64":
                shapes[offset] = np.array(dimensions, np.int64).tobytes()
            end = offset + int(np.prod(size)) * SIZES[dtype]
            header[part] = {"dtype": dtype, "shape": size, "data_offsets": [offset, end]}
            offset = end
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 4096)  # a hole is made of whole blocks
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        start = file.tell()
        file.truncate(start + offset)
        for at, content in shapes.items():
            file.seek(start + at)
            file.write(content)
    return offset
