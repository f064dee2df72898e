"""Compare AnalogMatMul with a layer of IBM/aihwkit-lightning and print a Markdown table.

    PYTHONPATH=tests python benchmarks/against_lightning.py

Both have static input ranges, 8-bit converters and 512-row tiles. Ours runs in mode `noisy`, after
programming; to the peer, programmed weights are just weights. They take turns in one process, with as many
threads each. The last columns are the peer's time over ours.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from lightning import INSTALL, static_layer
from numpy.typing import NDArray
from single_node import ANALOG_ATTRIBUTES, single_node_model
from timing import PROGRAMMED, machine, medians

from hetc.runtimes.onnxruntime.session import open_session

SHAPES = [(2048, 1024), (1024, 2048)]
ROWS = [1, 8, 32, 128, 512]
STORES = ["float32", "bfloat16", "int8"]
RANGE = 3.0
"""Of the DAC; x is normal, so that some of it is clipped, as calibrated ranges do."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each number")
    options = parser.parse_args()
    if importlib.util.find_spec("aihwkit_lightning") is None:
        sys.exit(INSTALL)
    import torch
    from aihwkit_lightning import __version__

    torch.set_num_threads(options.threads)
    versions = f"torch {torch.__version__}; aihwkit-lightning {__version__}"
    print(f"{machine()}; {versions}; threads {options.threads}\n")
    titles = ["K x N", "M", "peer ms", *(f"/ {store}" for store in STORES)]
    print("| " + " | ".join(titles) + " |")
    print("|" + " --- |" * len(titles))
    for inputs, outputs in SHAPES:
        w = np.random.default_rng(0).normal(size=(outputs, inputs)).astype(np.float32)
        layer, model = static_layer(w, RANGE), analog_model(w)
        sessions = {
            store: open_session(model, {"hetc.store": store}, threads=options.threads) for store in STORES
        }
        for rows in options.rows:
            x = np.random.default_rng(rows).normal(size=(rows, inputs)).astype(np.float32)
            runs: dict[str, Callable[[], object]] = {"peer": peer_runner(layer, torch.from_numpy(x))}
            for store, session in sessions.items():
                runs[store] = lambda session=session, x=x: session.run(None, {"x": x})  # type: ignore[misc]
            times = medians(runs, options.seconds)
            row = [f"{inputs} x {outputs}", str(rows), f"{1e3 * times['peer']:.3f}"]
            row += [f"{times['peer'] / times[store]:.1f}" for store in STORES]
            print("| " + " | ".join(row) + " |", flush=True)


def peer_runner(layer: Any, x: Any) -> Callable[[], object]:
    import torch

    def run() -> object:
        with torch.inference_mode():
            return layer(x)

    return run


def analog_model(w: NDArray[np.float32]) -> bytes:
    ranges = np.full(-(-w.shape[1] // 512), RANGE, np.float32)
    attributes = {**ANALOG_ATTRIBUTES, **PROGRAMMED, "stream": 1}
    x = np.zeros((1, w.shape[1]), np.float32)
    model = single_node_model("AnalogMatMul", x, {"w": w, "input_range": ranges}, attributes)
    return model.SerializeToString()


if __name__ == "__main__":
    main()
