"""Time dense-loop MoE layers (onnxruntime/mobius) before and after raising, and print a Markdown table.

Needs the folder `tests` on PYTHONPATH, as `make bench` sets it.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import onnx_ir as ir
import onnxruntime
from dense_loop import DenseLoop
from timing import machine, medians

from hetc.passes.rewrite.raise_experts import RaiseExperts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experts", type=int, default=32)
    parser.add_argument("--top-k", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--inter", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 32, 128])
    parser.add_argument("--seconds", type=float, default=2, help="for each number")
    options = parser.parse_args()
    build = DenseLoop(
        hidden=options.hidden, inter=options.inter, experts=options.experts, top_k=options.top_k
    )
    value = build.x
    for layer in range(options.layers):
        value = build.op("Add", value, build.layer(value, f"model.layers.{layer}.mlp"))
    model = build.model(value)
    sessions = {"dense": open_session(model, options.threads)}
    RaiseExperts()(model)
    sessions["canonical"] = open_session(model, options.threads)
    print(
        f"{machine()}; {options.layers} layers, {options.experts} experts, top {options.top_k}, "
        f"hidden {options.hidden}, inter {options.inter}, {options.threads} threads; milliseconds\n"
    )
    print("| tokens | dense | canonical | times faster | largest difference |")
    print("| --- | --- | --- | --- | --- |")
    for tokens in options.tokens:
        x = np.random.default_rng(tokens).normal(size=(1, tokens, options.hidden)).astype(np.float32)
        outputs = {name: session.run(None, {"x": x})[0] for name, session in sessions.items()}
        difference = np.abs(outputs["dense"] - outputs["canonical"]).max()
        runs = {name: partial(session.run, None, {"x": x}) for name, session in sessions.items()}
        times = medians(runs, options.seconds)
        faster = times["dense"] / times["canonical"]
        print(
            f"| {tokens} | {1e3 * times['dense']:.2f} | {1e3 * times['canonical']:.2f} | {faster:.1f} "
            f"| {difference:.1e} |",
            flush=True,
        )


def open_session(model: ir.Model, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    serialized = ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
