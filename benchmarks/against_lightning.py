"""Compare AnalogMatMul with a layer of IBM/aihwkit-lightning and print a Markdown table.

    PYTHONPATH=tests/helpers python benchmarks/against_lightning.py [--device cuda]

Ours is the operator in ONNX Runtime, or with --device the torch runtime there. Both have static input
ranges, 8-bit converters and 512-row tiles. Ours runs in mode `noisy`, after programming; to the peer,
programmed weights are just weights. They take turns in one process, with as many threads each (on a GPU, in
its own time). The last columns are the peer's time over ours.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from lightning import INSTALL, static_layer
from numpy.typing import NDArray
from single_node import ANALOG_ATTRIBUTES, single_node_model
from timing import PROGRAMMED, machine, medians

from hetc.hardware.profile import Profile
from hetc.operators.words import Store
from hetc.runtimes.onnxruntime.session import open_session
from hetc.runtimes.reference.settings import crossbar_of

SHAPES = [(2048, 1024), (1024, 2048)]
ROWS = [1, 8, 32, 128, 512]
STORES: list[Store] = ["float32", "bfloat16", "int8"]
RANGE = 3.0
"""Of the DAC; x is normal, so that some of it is clipped, as calibrated ranges do."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", help="time the torch runtime there, such as cuda or cpu")
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
    on_gpu = options.device is not None and options.device.startswith("cuda")
    where = torch.cuda.get_device_name(options.device) if on_gpu else machine()
    print(f"{where}; {versions}; threads {options.threads}\n")
    titles = ["K x N", "M", "peer ms", *(f"/ {store}" for store in STORES)]
    print("| " + " | ".join(titles) + " |")
    print("|" + " --- |" * len(titles))
    for inputs, outputs in SHAPES:
        w = np.random.default_rng(0).normal(size=(outputs, inputs)).astype(np.float32)
        layer = static_layer(w, RANGE).to(options.device or "cpu")
        if options.device:
            ours = {store: on_device(w, store, options.device) for store in STORES}
        else:
            ours = {store: in_session(w, store, options.threads) for store in STORES}
        for rows in options.rows:
            x = np.random.default_rng(rows).normal(size=(rows, inputs)).astype(np.float32)
            on_it = torch.from_numpy(x).to(options.device or "cpu")
            runs: dict[str, Callable[[], object]] = {"peer": partial(run_peer, layer, on_it)}
            runs |= {store: partial(run, on_it if options.device else x) for store, run in ours.items()}
            times = milliseconds(runs) if on_gpu else medians(runs, options.seconds)
            row = [f"{inputs} x {outputs}", str(rows), f"{1e3 * times['peer']:.3f}"]
            row += [f"{times['peer'] / times[store]:.1f}" for store in STORES]
            print("| " + " | ".join(row) + " |", flush=True)


def run_peer(layer: Any, x: Any) -> object:
    import torch

    with torch.inference_mode():
        return layer(x)


def milliseconds(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of a GPU's time for each, its cache emptied before every run."""
    from triton.testing import do_bench

    return {name: float(do_bench(run, return_mode="median")) / 1e3 for name, run in runs.items()}


def on_device(w: NDArray[np.float32], store: Store, device: str) -> Callable[[Any], object]:
    """The torch runtime: its kernels on a GPU, plain torch elsewhere."""
    import torch

    from hetc.runtimes.torch.crossbar import Placed, analog_matmul, place

    weight = torch.from_numpy(w).to(device)
    settings = crossbar_of(Profile(noise_scale=1.0), "noisy", store=store)
    ranges = [RANGE] * -(-w.shape[1] // settings.tile_rows)
    if not device.startswith("cuda"):
        crossbars = place([Placed(weight, 1)], settings, ranges)
        return lambda x: analog_matmul(x, crossbars)
    from hetc.runtimes.torch.kernels.dac import convert
    from hetc.runtimes.torch.kernels.products import analog_product
    from hetc.runtimes.torch.kernels.stack import Part, program_stack

    part = Part(weight[None], slice(0, len(weight)), [1])
    stack = program_stack([part], settings).stack([ranges], [None])

    def run(x: torch.Tensor) -> torch.Tensor:
        return analog_product(convert(x, stack), stack, out=x.new_empty(len(x), len(weight)))

    return run


def in_session(w: NDArray[np.float32], store: Store, threads: int) -> Callable[[Any], object]:
    session = open_session(analog_model(w), {"hetc.store": store}, threads=threads)
    return lambda x: session.run(None, {"x": x})


def analog_model(w: NDArray[np.float32]) -> bytes:
    ranges = np.full(-(-w.shape[1] // 512), RANGE, np.float32)
    attributes = {**ANALOG_ATTRIBUTES, **PROGRAMMED, "stream": 1}
    x = np.zeros((1, w.shape[1]), np.float32)
    model = single_node_model("AnalogMatMul", x, {"w": w, "input_range": ranges}, attributes)
    return model.SerializeToString()


if __name__ == "__main__":
    main()
