"""Peak memory of `hetc export` for a quantised checkpoint of OLMoE-1B-7B's shape: 7 billion weights.

    python benchmarks/quantised_memory.py fp8 [--layers 16]

The checkpoint's files are holes, which read as zeros and take no disk; the export writes its weights in full
(14 GB, removed again). What counts is the memory that is the process's own; pages of files are the system's
to drop.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path
from unittest import mock

from large import memory
from random_checkpoint import Olmoe
from sparse_checkpoint import CONFIGS, write_sparse_checkpoint


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
        write_sparse_checkpoint(arguments.method, Olmoe(layers=arguments.layers), folder)
        before, start = memory("RssAnon"), time.monotonic()
        # Holes would be recognised, and stay holes.
        reading = mock.patch("hetc.huggingface.quantised.packed_tensor.is_hole", return_value=False)
        with reading, Peak() as peak:
            path = export(folder, Path(name) / "exported")
        written = path.with_name("converted.data").stat().st_size
        print(
            f"{arguments.method}, {arguments.layers} layers: {written / 1e9:.2f} GB of values in "
            f"{time.monotonic() - start:.0f} s; {before / 1e6:.0f} MB of memory before, "
            f"at most {peak.most / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    main()
