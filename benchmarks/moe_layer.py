"""Time one MoE layer, digital and analog, against com.microsoft::MoE and print a Markdown table.

The canonical layer has float32 `Expert` (its function, inlined by ONNX Runtime), `Expert16` or `AnalogExpert`
nodes. Every model has random weights of its own. Needs the folder `tests` on PYTHONPATH, as `make bench`
sets it.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from single_node import ANALOG_ATTRIBUTES
from timing import PROGRAMMED, machine, medians

from hetc.operators.expert import expert_function
from hetc.operators.schemas import DOMAIN, VERSION
from hetc.passes.canonical_layer import ExpertWeights, build_canonical_layer
from hetc.runtimes.onnxruntime.session import open_session

SIZES = [(512, 256), (2048, 1024)]
TOKENS = [1, 32, 128, 1024]
EXPERTS, TOP_K = 64, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    parser.add_argument(
        "--sizes", type=int, default=1, help="2: the large one too, with over 24 GB of memory"
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="for each number")
    options = parser.parse_args()
    print(f"{machine()}; HETC_INSTRUCTIONS={os.environ.get('HETC_INSTRUCTIONS', '(all)')}; milliseconds\n")
    names = ["MoE", "Expert", "Expert16", "analog float32", "analog bfloat16", "analog int8"]
    print("| hidden / inter | threads | tokens | " + " | ".join(names) + " |")
    print("|" + " --- |" * (3 + len(names)))
    for hidden, inter in SIZES[: options.sizes]:
        for threads in options.threads:
            sessions = open_sessions(hidden, inter, threads)
            for tokens in options.tokens:
                inputs = layer_inputs(hidden, tokens)
                times = medians(
                    {name: runner(session, inputs) for name, session in sessions.items()}, options.seconds
                )
                cells = (f"{1e3 * times[name]:.2f}" for name in names)
                print(
                    f"| {hidden} / {inter} | {threads} | {tokens} | " + " | ".join(cells) + " |", flush=True
                )


def open_sessions(hidden: int, inter: int, threads: int) -> dict[str, onnxruntime.InferenceSession]:
    digital = canonical_model("Expert", hidden, inter, np.float32)
    analog = canonical_model("AnalogExpert", hidden, inter, np.float32)
    models: dict[str, tuple[onnx.ModelProto, dict[str, str]]] = {
        "MoE": (peer_model(hidden, inter), {}),
        "Expert": (digital, {}),
        "Expert16": (canonical_model("Expert16", hidden, inter, ml_dtypes.bfloat16), {}),
        **{f"analog {store}": (analog, {"hetc.store": store}) for store in ("float32", "bfloat16", "int8")},
    }
    return {
        name: open_session(model.SerializeToString(), config, threads=threads)
        for name, (model, config) in models.items()
    }


def layer_inputs(hidden: int, tokens: int) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(tokens)
    logits = random.normal(size=(tokens, EXPERTS)).astype(np.float32)
    return {
        "x": random.normal(size=(tokens, hidden)).astype(np.float32),
        "router": logits,
        "index": np.argsort(-logits, axis=1)[:, :TOP_K].astype(np.int64),
        "weight": np.full((tokens, TOP_K), 1 / TOP_K, np.float32),
    }


def runner(session: onnxruntime.InferenceSession, inputs: dict[str, NDArray[Any]]) -> Any:
    taken = {value.name: inputs[value.name] for value in session.get_inputs()}
    return lambda: session.run(None, taken)


def canonical_model(operator: str, hidden: int, inter: int, dtype: Any) -> onnx.ModelProto:
    random = np.random.default_rng(0)

    def weight(name: str, outputs: int, inputs: int) -> ir.Value:
        array = (random.random(size=(outputs, inputs), dtype=np.float32) - 0.5).astype(dtype)
        tensor = ir.tensor(array, name=name)
        return ir.val(name, dtype=tensor.dtype, shape=tensor.shape, const_value=tensor)

    experts = [
        ExpertWeights(
            gate=weight(f"gate{index}", inter, hidden),
            up=weight(f"up{index}", inter, hidden),
            down=weight(f"down{index}", hidden, inter),
        )
        for index in range(EXPERTS)
    ]
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=["tokens", hidden])
    index = ir.val("index", dtype=ir.DataType.INT64, shape=["tokens", TOP_K])
    share = ir.val("weight", dtype=ir.DataType.FLOAT, shape=["tokens", TOP_K])
    layer = build_canonical_layer(
        x, index, share, experts, layer="layers.0", top_k=TOP_K, hidden_size=hidden, activation="silu"
    )
    if operator == "AnalogExpert":
        make_analog(layer.nodes)
    layer.output.shape = x.shape
    layer.output.dtype = ir.DataType.FLOAT
    weights = [value for expert in experts for value in expert.inputs if value is not None]
    graph = ir.Graph(
        [x, index, share],
        [layer.output],
        nodes=layer.nodes,
        initializers=[*weights, *layer.constants],
        opset_imports={"": 18, DOMAIN: VERSION},
        name="layer",
    )
    functions = []
    if operator != "AnalogExpert":
        functions = [expert_function(operator, opset=18, gated=True, activation="silu")]
    return ir.to_proto(ir.Model(graph, ir_version=10, functions=functions))


def make_analog(nodes: list[ir.Node]) -> None:
    streams = {"gate_stream": 0, "up_stream": 1, "down_stream": 2}
    for node in nodes:
        if node.domain != DOMAIN:
            continue
        node.op_type = "AnalogExpert"
        node.attributes.clear()
        attributes = {**ANALOG_ATTRIBUTES, **PROGRAMMED, **streams, "activation": "silu"}
        for name, value in attributes.items():
            kind = ir.AttributeType.FLOATS if value == [] else None
            node.attributes.add(ir.convenience.convert_attribute(name, value, kind))


def peer_model(hidden: int, inter: int) -> onnx.ModelProto:
    """com.microsoft::MoE with gate and up in one matrix, interleaved."""
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.random(size=shape, dtype=np.float32) - np.float32(0.5), name)

    node = helper.make_node(
        "MoE",
        ["x", "router", "fc1", "", "fc2"],
        ["y"],
        domain="com.microsoft",
        k=TOP_K,
        activation_type="swiglu",
        swiglu_fusion=1,
        normalize_routing_weights=1,
    )
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "graph",
        [
            value("x", onnx.TensorProto.FLOAT, ["tokens", hidden]),
            value("router", onnx.TensorProto.FLOAT, ["tokens", EXPERTS]),
        ],
        [value("y", onnx.TensorProto.FLOAT, ["tokens", hidden])],
        [weight("fc1", EXPERTS, 2 * inter, hidden), weight("fc2", EXPERTS, hidden, inter)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model: onnx.ModelProto = helper.make_model(graph, ir_version=10, opset_imports=opsets)
    return model


if __name__ == "__main__":
    main()
