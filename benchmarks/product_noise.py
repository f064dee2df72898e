"""Compare AnalogMatMul with noise in every product with ONNX Runtime's float32 MatMul.

Prints a Markdown table. Noisy mode, float32 store, after programming; the weights of both are constants.
`HETC_INSTRUCTIONS` bounds the instruction set of hetc's kernels, not of the peer. Needs the folder `tests` on
PYTHONPATH, as `make bench` sets it.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np
from kernel_speed import ATTRIBUTES, ROWS, SHAPES, matmul_model, programming_speed, runner
from numpy.typing import NDArray
from single_node import single_node_model
from timing import machine, medians

from hetc.runtimes.onnxruntime.session import open_session

VARIANTS: dict[str, dict[str, Any]] = {
    "quiet": {},
    "output": {"output_noise": 0.04},
    "additive": {"weight_noise": 0.0175, "weight_noise_form": "additive"},
    "pcm-read": {"weight_noise": 0.0175, "weight_noise_form": "pcm-read"},
    "both": {"output_noise": 0.04, "weight_noise": 0.0175, "weight_noise_form": "pcm-read"},
    "stochastic": {"dac_rounding": "stochastic"},
    "bounds": {"bound_management": "iterative"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="how many of the shapes")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS)[:4])
    parser.add_argument("--seconds", type=float, default=0.25, help="for each number")
    options = parser.parse_args()
    print(f"{machine()}; HETC_INSTRUCTIONS={os.environ.get('HETC_INSTRUCTIONS', '(all)')}\n")
    titles = ["K x N", "M", "MatMul ms", *(f"{name} / MatMul" for name in options.variants)]
    print("| " + " | ".join(titles) + " |")
    print("|" + " --- |" * len(titles))
    for inputs, outputs in SHAPES[: options.shapes]:
        weights = np.random.default_rng(0).normal(size=(outputs, inputs)).astype(np.float32)
        store = {"hetc.store": "float32"}
        peer = open_session(matmul_model(weights).SerializeToString(), threads=options.threads)
        sessions = {
            name: open_session(noisy_model(weights, VARIANTS[name]), store, threads=options.threads)
            for name in options.variants
        }
        for rows in options.rows:
            x = np.random.default_rng(rows).normal(size=(rows, inputs)).astype(np.float32)
            runs = {name: runner(session, x) for name, session in {"peer": peer, **sessions}.items()}
            times = medians(runs, options.seconds)
            ratios = (f"{times[name] / times['peer']:.2f}" for name in options.variants)
            row = [f"{inputs} x {outputs}", str(rows), f"{1e3 * times['peer']:.3f}", *ratios]
            print("| " + " | ".join(row) + " |", flush=True)
    print(f"\nProgramming {programming_speed():.0f} M weights/s on 1 thread (bfloat16 store, 2048 x 2048).")


def noisy_model(weights: NDArray[np.float32], noise: dict[str, Any]) -> bytes:
    """One AnalogMatMul whose products draw `noise`."""
    attributes = {**ATTRIBUTES, **noise}
    return single_node_model("AnalogMatMul", weights[:1], {"w": weights}, attributes).SerializeToString()


if __name__ == "__main__":
    main()
