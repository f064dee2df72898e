"""Compare AnalogMatMul with ONNX Runtime's float32 MatMul and print a Markdown table.

Noisy mode, after programming; the weights of both are constants. `HETC_INSTRUCTIONS` bounds the instruction
set of hetc's kernels, not of the peer. Needs the folder `tests` on PYTHONPATH, as `make bench` sets it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper
from single_node import ANALOG_ATTRIBUTES, single_node_model
from timing import PROGRAMMED, machine, medians

from hetc.runtimes.onnxruntime.session import open_session

SHAPES = [(2048, 1024), (1024, 2048), (2048, 1408), (1408, 2048), (2048, 2048)]
ROWS = [1, 8, 32, 128, 512]
ATTRIBUTES: dict[str, Any] = {**ANALOG_ATTRIBUTES, **PROGRAMMED, "stream": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="how many of the shapes")
    parser.add_argument("--variants", nargs="+", default=["float32", "bfloat16", "int8"])
    parser.add_argument("--seconds", type=float, default=0.25, help="for each number")
    options = parser.parse_args()
    print(f"{machine()}; HETC_INSTRUCTIONS={os.environ.get('HETC_INSTRUCTIONS', '(all)')}\n")
    titles = ["K x N", "threads", "M", "MatMul ms", *(f"{name} / MatMul" for name in options.variants)]
    print("| " + " | ".join(titles) + " |")
    print("|" + " --- |" * len(titles))
    for inputs, outputs in SHAPES[: options.shapes]:
        weights = np.random.default_rng(0).normal(size=(outputs, inputs)).astype(np.float32)
        for threads in options.threads:
            peer = open_session(matmul_model(weights).SerializeToString(), threads=threads)
            model = analog_model(weights)
            sessions = {
                name: open_session(model, entries(name), threads=threads) for name in options.variants
            }
            for rows in options.rows:
                x = np.random.default_rng(rows).normal(size=(rows, inputs)).astype(np.float32)
                runs = {name: runner(session, x) for name, session in {"peer": peer, **sessions}.items()}
                times = medians(runs, options.seconds)
                ratios = (f"{times[name] / times['peer']:.2f}" for name in options.variants)
                row = [
                    f"{inputs} x {outputs}",
                    str(threads),
                    str(rows),
                    f"{1e3 * times['peer']:.3f}",
                    *ratios,
                ]
                print("| " + " | ".join(row) + " |", flush=True)
    print(f"\nProgramming {programming_speed():.0f} M weights/s on 1 thread (bfloat16 store, 2048 x 2048).")


def entries(variant: str) -> dict[str, str]:
    """Session entries of a store, or of a mode other than noisy."""
    if variant in ("exact", "converters"):
        return {"hetc.mode": variant}
    return {"hetc.store": variant}


def runner(session: onnxruntime.InferenceSession, x: NDArray[np.float32]) -> Callable[[], object]:
    return lambda: session.run(None, {"x": x})


def programming_speed() -> float:
    """Return millions of weights per second, of the best of 5 first runs."""
    weights = np.random.default_rng(0).normal(size=(2048, 2048)).astype(np.float32)
    model = analog_model(weights)
    times = []
    for seed in range(5):
        session = open_session(model, {"hetc.seed": str(1000 + seed)}, threads=1)
        before = time.perf_counter()
        session.run(None, {"x": weights[:1]})
        times.append(time.perf_counter() - before)
    return weights.size / min(times) / 1e6


def analog_model(weights: NDArray[np.float32]) -> bytes:
    return single_node_model("AnalogMatMul", weights[:1], {"w": weights}, ATTRIBUTES).SerializeToString()


def matmul_model(weights: NDArray[np.float32]) -> onnx.ModelProto:
    outputs, inputs = weights.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["m", inputs])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["m", outputs])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(weights.T), "w")],
    )
    model: onnx.ModelProto = helper.make_model(
        graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]
    )
    return model


if __name__ == "__main__":
    main()
