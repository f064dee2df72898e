"""Measure what must stay small: memory, repeated programming, idle experts, growth with tokens, leaks.

    PYTHONPATH=tests python benchmarks/robustness.py

Prints a Markdown table. Each row is measured in a process of its own, since memory is; Linux only.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from single_node import ANALOG_ATTRIBUTES, make_node, single_node_model
from timing import machine

from hetc.operators.schemas import DOMAIN, VERSION
from hetc.runtimes.onnxruntime.session import open_session

PCM = {
    "mode": "noisy",
    "noise_form": "differential-pair",
    "noise_sigma": [0.0105392, 0.0786, -0.046924],
    "noise_scale": 1.0,
}
MATMUL: dict[str, Any] = {**ANALOG_ATTRIBUTES, **PCM, "stream": 0}
EXPERT: dict[str, Any] = {
    **ANALOG_ATTRIBUTES,
    **PCM,
    "gate_stream": 0,
    "up_stream": 1,
    "down_stream": 2,
    "activation": "silu",
}
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}


def memory(kind: str) -> int:
    """Resident bytes of this process: `VmRSS`, or its parts `RssAnon` and `RssFile`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(kind))


def normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def model_of(
    nodes: list[onnx.NodeProto],
    shapes: dict[str, list[Any]],
    constants: dict[str, NDArray[Any]],
    path: Path,
) -> Path:
    """Saves a graph with x and maybe more inputs and an output y; constants lie in a file beside it."""
    inputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.INT64 if name == "counts" else 1, shape)
        for name, shape in shapes.items()
    ]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
    for i, node in enumerate(nodes):
        node.name = f"node{i}"
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, VERSION)]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    model = helper.make_model(graph, ir_version=10, opset_imports=opsets)
    onnx.save(model, path, save_as_external_data=True, location=path.name + ".data", size_threshold=1024)
    return path


def chain(folder: Path, matrices: int, size: int) -> Path:
    """`matrices` square products in a row, each with a weight of its own."""
    names = ["x", *(f"v{i}" for i in range(1, matrices)), "y"]
    nodes = [
        make_node("AnalogMatMul", [names[i], f"w{i}"], [names[i + 1]], {**MATMUL, "stream": i})
        for i in range(matrices)
    ]
    weights = {f"w{i}": normal(size, size) * np.float32(size**-0.5 * (1 + i / 100)) for i in range(matrices)}
    return model_of(nodes, {"x": ["M", size]}, weights, folder / "chain.onnx")


def store_memory(folder: Path, store: str) -> str:
    """Growth of anonymous memory in the run that programs, over the bytes of the stored weights."""
    matrices, size = 12, 2048
    path = chain(folder, matrices, size)
    x = normal(1, size)
    small = single_node_model("AnalogMatMul", normal(1, 64), {"w": normal(64, 64)}, MATMUL)
    onnx.save(small, folder / "small.onnx")
    open_session(folder / "small.onnx", threads=1).run(None, {"x": normal(1, 64)})
    session = open_session(path, {"hetc.store": store}, threads=1)
    before = memory("RssAnon")
    session.run(None, {"x": x})
    grown = memory("RssAnon") - before
    return f"{grown / (matrices * size * size * BYTES[store]):.3f} x the weights in the store's type"


def clean_weights(folder: Path, mode: str) -> str:
    """Growth of anonymous memory from opening a session and running it, over the clean weights."""
    matrices, size = 12, 2048
    path = chain(folder, matrices, size)
    gc.collect()
    before, file_before = memory("RssAnon"), memory("RssFile")
    session = open_session(path, {"hetc.mode": mode}, threads=1)
    session.run(None, {"x": normal(1, size)})
    weights = matrices * size * size * 4
    grown, mapped = memory("RssAnon") - before, memory("RssFile") - file_before
    return f"{grown / weights:.3f} x the weights anonymous, {mapped / weights:.2f} x in the file map"


def second_session(folder: Path) -> str:
    """First run of a session, and of a second one on the same weights, seed and store."""
    matrices, size = 4, 2048
    path = chain(folder, matrices, size)
    x = normal(1, size)
    sessions = [open_session(path, threads=1) for _ in range(2)]
    times = []
    for session in (*sessions, sessions[1]):
        start = time.perf_counter()
        session.run(None, {"x": x})
        times.append(time.perf_counter() - start)
    first, second, later = (1e3 * value for value in times)
    return f"first {first:.1f} ms, second session {second:.1f} ms, its next run {later:.1f} ms"


def idle_experts(folder: Path) -> str:
    """Slope of a layer's time in experts that get no row, Split and Concat included."""
    hidden, inter = 64, 32
    weights = {"gate": normal(inter, hidden), "up": normal(inter, hidden), "down": normal(hidden, inter)}

    def best_time(experts: int) -> float:
        rows, results = [f"x{e}" for e in range(experts)], [f"y{e}" for e in range(experts)]
        nodes = [helper.make_node("Split", ["x", "counts"], rows, axis=0)]
        nodes += [
            make_node("AnalogExpert", [rows[e], *weights], [results[e]], EXPERT) for e in range(experts)
        ]
        nodes.append(helper.make_node("Concat", results, ["y"], axis=0))
        shapes = {"x": ["M", hidden], "counts": [experts]}
        session = open_session(model_of(nodes, shapes, weights, folder / f"idle{experts}.onnx"), threads=1)
        counts = np.zeros(experts, np.int64)
        counts[0] = 1
        return best(lambda: session.run(None, {"x": normal(1, hidden), "counts": counts}), 200)

    few, many = best_time(128), best_time(1024)
    each = (many - few) / (1024 - 128)
    return f"{1e6 * each:.2f} us each; 48 layers x 128 experts {1e3 * 48 * 128 * each:.1f} ms"


def growth_with_tokens(folder: Path) -> str:
    """Time of a token at 512, 1024 and 2048 tokens, relative to 256."""
    path = chain(folder, 1, 1024)
    session = open_session(path, threads=1)
    each = {}
    for tokens in (256, 512, 1024, 2048):
        x = normal(tokens, 1024)
        each[tokens] = best(lambda x=x: session.run(None, {"x": x}), 7) / tokens  # type: ignore[misc]
    ratios = ", ".join(f"{tokens}: {value / each[256]:.2f}" for tokens, value in each.items())
    return f"{1e6 * each[256]:.1f} us a token at 256; relative {ratios}"


def sessions_come_and_go(folder: Path) -> str:
    """Growth of resident memory over 1,000 sessions that are opened, run and closed, after 200 others."""
    weights = {"gate": normal(72, 96), "up": normal(72, 96), "down": normal(96, 72)}
    onnx.save(single_node_model("AnalogExpert", normal(1, 96), weights, EXPERT), folder / "expert.onnx")

    def open_and_close(seeds: range) -> None:
        for seed in seeds:
            session = open_session(folder / "expert.onnx", {"hetc.seed": str(seed)}, threads=1)
            session.run(None, {"x": normal(4, 96)})
        gc.collect()

    open_and_close(range(200))
    before = memory("VmRSS")
    open_and_close(range(200, 1200))
    return f"{(memory('VmRSS') - before) / 1024:.0f} KiB"


def best(function: Callable[[], object], calls: int) -> float:
    """Least time of a call in seconds, after one that warms up."""
    function()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


MEASUREMENTS: dict[str, tuple[Callable[..., str], tuple[str, ...]]] = {
    "programmed store, float32": (store_memory, ("float32",)),
    "programmed store, bfloat16": (store_memory, ("bfloat16",)),
    "programmed store, int8": (store_memory, ("int8",)),
    "clean weights, exact": (clean_weights, ("exact",)),
    "clean weights, converters": (clean_weights, ("converters",)),
    "second session, same weights and key": (second_session, ()),
    "expert that no token chose": (idle_experts, ()),
    "growth with tokens": (growth_with_tokens, ()),
    "1,000 sessions opened and closed": (sessions_come_and_go, ()),
}


def measured(name: str) -> str:
    function, arguments = MEASUREMENTS[name]
    with tempfile.TemporaryDirectory() as folder:
        return function(Path(folder), *arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=MEASUREMENTS, action="append", help="may be given again")
    options = parser.parse_args()
    print(f"{machine()}; 1 thread\n\n| what | measured |\n| --- | --- |")
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for name in options.only or MEASUREMENTS:
            print(f"| {name} | {pool.apply(measured, (name,))} |", flush=True)


if __name__ == "__main__":
    main()
