"""Peak memory of `hetc export` for a quantised checkpoint of OLMoE-1B-7B's shape: 7 billion weights.

    python benchmarks/quantised_memory.py fp8 [--layers 16]

The checkpoint's files are holes, which read as zeros and take no disk; the export writes its weights in full
(14 GB, removed again). What counts is the memory that is the process's own; pages of files are the system's
to drop.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from large import memory
from random_checkpoint import Olmoe

GROUP, BLOCK = 128, 128
Stored = tuple[str, str, tuple[int, ...]]
SIZES = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "U8": 1, "F8_E4M3": 1}
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


def write(method: str, shape: Olmoe, folder: Path) -> None:
    """A checkpoint whose data are holes, but for shapes, which are read."""
    folder.mkdir()
    config = {**shape.config, "quantization_config": {"quant_method": method, **CONFIGS[method]}}
    (folder / "config.json").write_text(json.dumps(config))
    header: dict[str, Any] = {}
    shapes, offset = {}, 0
    for name, dimensions in shape.tensors():
        for part, dtype, size in parts(method, name, dimensions):
            if dtype == "I64":
                shapes[offset] = np.array(dimensions, np.int64).tobytes()
            end = offset + int(np.prod(size)) * {**SIZES, "I64": 8}[dtype]
            header[part] = {"dtype": dtype, "shape": size, "data_offsets": [offset, end]}
            offset = end
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        start = file.tell()
        file.truncate(start + offset)
        for at, content in shapes.items():
            file.seek(start + at)
            file.write(content)


class Peak(threading.Thread):
    """The most memory that no file backs, while a block runs, looked at every 5 ms."""

    def __enter__(self) -> Peak:
        self.most, self.running = memory("RssAnon"), True
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.running = False
        self.join()

    def run(self) -> None:
        while self.running:
            self.most = max(self.most, memory("RssAnon"))
            time.sleep(0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=CONFIGS)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--folder", type=Path, help="Where the export is written, and removed again.")
    arguments = parser.parse_args()
    from hetc.huggingface.export.export import export

    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name) / "checkpoint"
        write(arguments.method, Olmoe(layers=arguments.layers), folder)
        before, start = memory("RssAnon"), time.monotonic()
        with Peak() as peak:
            path = export(folder, Path(name) / "exported")
        written = path.with_name("converted.data").stat().st_size
        print(
            f"{arguments.method}, {arguments.layers} layers: {written / 1e9:.2f} GB of values in "
            f"{time.monotonic() - start:.0f} s; {before / 1e6:.0f} MB of memory before, "
            f"at most {peak.most / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    main()
