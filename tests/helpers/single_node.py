"""Models of one node of domain ``hetc``, with every input but x an initializer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from hetc.operators.schemas import DOMAIN, INPUTS, VERSION

__all__ = [
    "ANALOG_ATTRIBUTES",
    "ELEMENT_TYPES",
    "Run",
    "make_node",
    "run_in_evaluator",
    "run_in_onnxruntime",
    "single_node_model",
]

ELEMENT_TYPES = {
    np.dtype(np.float32): onnx.TensorProto.FLOAT,
    np.dtype(np.float16): onnx.TensorProto.FLOAT16,
    np.dtype(ml_dtypes.bfloat16): onnx.TensorProto.BFLOAT16,
    np.dtype(np.int32): onnx.TensorProto.INT32,
}

Run = Callable[[onnx.ModelProto, NDArray[Any]], NDArray[np.float32]]
"""`run_in_onnxruntime` or `run_in_evaluator`."""

ANALOG_ATTRIBUTES: dict[str, Any] = {
    "unit": "layers.0.experts.0",
    "mode": "converters",
    "transpose_weight": 1,
    "tile_rows": 512,
    "tile_columns": 512,
    "dac_bits": 8,
    "adc_bits": 8,
    "out_bound": 10.0,
    "noise_form": "none",
    "noise_sigma": [0.0],
    "noise_sigma_breaks": [],
    "noise_times": [],
    "noise_floor": 0.0,
    "noise_offset": 0.0,
    "noise_scale": 1.0,
    "drift_time": 0.0,
    "drift_reference": 1.0,
    "drift_mean": [],
    "drift_deviation": [],
    "drift_compensation": "none",
    "flicker_noise": 0.0,
    "flicker_deviation": [],
    "flicker_read_time": 1e-6,
    "output_noise": 0.0,
    "weight_noise": 0.0,
    "weight_noise_form": "additive",
    "ir_drop": 0.0,
    "dac_rounding": "nearest",
    "bound_management": "none",
    "scale_mode": "column",
    "seed": 0,
    "read_seed": 0,
    "rank": 0,
    "group_size": 0,
    "digital_count": 0,
}


def make_node(
    operator: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Mapping[str, Any]
) -> onnx.NodeProto:
    """Node of domain ``hetc``; lists may be empty."""
    node = helper.make_node(operator, inputs, outputs, "node", domain=DOMAIN)
    for name, value in attributes.items():  # the type of an empty list has to be said
        kind = onnx.AttributeProto.FLOATS if isinstance(value, list) and not value else None
        node.attribute.append(helper.make_attribute(name, value, attr_type=kind))
    return node


def single_node_model(
    operator: str,
    x: NDArray[Any],
    constants: Mapping[str, NDArray[Any] | None],
    attributes: Mapping[str, Any],
    functions: Sequence[ir.Function] = (),
    opset: int = 18,
) -> onnx.ModelProto:
    """Model of one node; its graph input and output are float32, cast to and from x's type inside.

    Args:
        operator: name of the operator.
        x: fixes rank, last dimension and type of the node's input; the other dimensions are symbolic.
        constants: the other inputs by name, None for one that is skipped.
        attributes: of the node.
        functions: model-local functions, callees first.
        opset: of the model.
    """
    names = [name for name in INPUTS[operator] if name == "x" or constants.get(name) is not None]
    last = max(list(INPUTS[operator]).index(name) for name in names)
    inputs = [name if name in names else "" for name in list(INPUTS[operator])[: last + 1]]
    inputs[0] = "x_cast"
    leading = [f"d{axis}" for axis in range(x.ndim - 1)]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["x_cast"], to=ELEMENT_TYPES[x.dtype]),
            make_node(operator, inputs, ["y_cast"], attributes),
            helper.make_node("Cast", ["y_cast"], ["y"], to=onnx.TensorProto.FLOAT),
        ],
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [*leading, x.shape[-1]])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [*leading, "outputs"])],
        [
            helper.make_tensor(name, ELEMENT_TYPES[value.dtype], value.shape, value.tobytes(), raw=True)
            for name, value in constants.items()
            if value is not None
        ],
    )
    return helper.make_model(
        graph,
        ir_version=10,
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, VERSION)],
        functions=[ir.serde.serialize_function(function) for function in functions],
    )


def run_in_onnxruntime(model: onnx.ModelProto, x: NDArray[Any]) -> NDArray[np.float32]:
    """Run in ONNX Runtime without hetc's library."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    output: NDArray[np.float32] = session.run(None, {"x": x.astype(np.float32)})[0]
    return output


def run_in_evaluator(model: onnx.ModelProto, x: NDArray[Any]) -> NDArray[np.float32]:
    """Run in onnx's reference evaluator."""
    with np.errstate(invalid="ignore"):
        outputs = ReferenceEvaluator(model).run(None, {"x": x.astype(np.float32)})
    assert isinstance(outputs, list)
    output: NDArray[np.float32] = outputs[0]
    return output
