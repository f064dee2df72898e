"""One MoE layer in the spellings that are timed against each other.

Those of hetc and the inlined one share a file of random weights, which stays on disk and is mapped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx_ir.passes.common import InlinePass
from single_node import ANALOG_ATTRIBUTES
from timing import PROGRAMMED

from hetc.operators.expert import expert_function
from hetc.operators.schemas import DOMAIN, VERSION
from hetc.passes.canonical.canonical_layer import ExpertWeights, build_canonical_layer

__all__ = [
    "EXPERTS",
    "TOP_K",
    "grouped_mm",
    "layer_inputs",
    "write_analog",
    "write_canonical",
    "write_inlined",
    "write_moe_operator",
]

EXPERTS, TOP_K = 64, 8


def layer_inputs(hidden: int, tokens: int) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(tokens)
    logits = random.normal(size=(tokens, EXPERTS)).astype(np.float32)
    return {
        "x": random.normal(size=(tokens, hidden)).astype(np.float32),
        "router": logits,
        "index": np.argsort(-logits, axis=1)[:, :TOP_K].astype(np.int64),
        "weight": np.full((tokens, TOP_K), 1 / TOP_K, np.float32),
    }


def write_canonical(path: Path, operator: str, hidden: int, inter: int) -> None:
    """The canonical layer of `Expert` (float32) or `Expert16` (bfloat16) nodes."""
    random = np.random.default_rng(0)
    dtype = np.float32 if operator == "Expert" else ml_dtypes.bfloat16

    def weight(name: str, outputs: int, inputs: int) -> ir.Value:
        array = (random.random(size=(outputs, inputs), dtype=np.float32) - np.float32(0.5)) / np.float32(
            np.sqrt(inputs)
        )
        tensor = ir.tensor(array.astype(dtype), name=name)
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
    functions = [expert_function(operator, opset=18, gated=True, activation="silu")]
    ir.save(
        ir.Model(graph, ir_version=10, functions=functions), path, external_data=path.with_suffix(".bin").name
    )


def write_inlined(path: Path, canonical: Path) -> None:
    """The canonical layer with `Expert` spelled out in standard operators."""
    model = ir.load(canonical)
    ir.save(InlinePass()(model).model, path)


def write_analog(path: Path, canonical: Path) -> None:
    """The canonical layer, all its experts analog."""
    model = ir.load(canonical)
    streams = {"gate_stream": 0, "up_stream": 1, "down_stream": 2}
    for node in model.graph:
        if node.domain != DOMAIN:
            continue
        node.op_type = "AnalogExpert"
        node.attributes.clear()
        attributes = {**ANALOG_ATTRIBUTES, **PROGRAMMED, **streams, "activation": "silu"}
        for name, value in attributes.items():
            kind = ir.AttributeType.FLOATS if value == [] else None
            node.attributes.add(ir.convenience.convert_attribute(name, value, kind))
    model.functions.clear()
    ir.save(model, path)


def write_moe_operator(path: Path, hidden: int, inter: int) -> None:
    """com.microsoft::MoE with gate and up in one matrix, interleaved; weights of its own."""
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        array = (random.random(size=shape, dtype=np.float32) - np.float32(0.5)) / np.sqrt(
            np.float32(shape[-1])
        )
        return numpy_helper.from_array(array, name)

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
    model = helper.make_model(graph, ir_version=10, opset_imports=opsets)
    onnx.save(model, path, save_as_external_data=True, location=path.with_suffix(".bin").name)


def grouped_mm(canonical: Path, threads: int) -> Callable[[dict[str, NDArray[Any]]], Any]:
    """transformers' experts of OLMoE with `grouped_mm`, on the weights of a canonical layer."""
    import torch
    from transformers.models.olmoe.modeling_olmoe import OlmoeConfig, OlmoeExperts

    torch.set_num_threads(threads)
    weights = ir.load(canonical).graph.initializers

    def stack(name: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([_array(weights[f"{name}{index}"]) for index in range(EXPERTS)]))

    gate_up = torch.cat([stack("gate"), stack("up")], dim=1)
    config = OlmoeConfig(
        hidden_size=gate_up.shape[2],
        intermediate_size=gate_up.shape[1] // 2,
        num_experts=EXPERTS,
        num_experts_per_tok=TOP_K,
    )
    config._experts_implementation = "grouped_mm"
    with torch.device("meta"):
        experts = OlmoeExperts(config)
    parameters = {"gate_up_proj": gate_up, "down_proj": stack("down")}
    experts.load_state_dict(parameters, assign=True)

    def run(inputs: dict[str, NDArray[Any]]) -> Any:
        with torch.inference_mode():
            return experts(*(torch.from_numpy(inputs[name]) for name in ("x", "index", "weight"))).numpy()

    return run


def _array(value: ir.Value) -> NDArray[np.float32]:
    assert value.const_value is not None
    return value.const_value.numpy()
