"""Schemas of the operators of domain ``hetc``, so that onnx's checker and shape inference know them.

What each operator computes is docs/operators.md; a test holds its attributes and these together.
"""

from __future__ import annotations

import onnx
from onnx import TypeProto
from onnx.defs import OpSchema
from onnx.shape_inference import InferenceContext

from hetc.operators.activations import ACTIVATION_ATTRIBUTES

__all__ = [
    "ATTRIBUTES",
    "DOMAIN",
    "EXPERT_OPERATORS",
    "INPUTS",
    "VERSION",
    "attribute_types",
    "register",
]

DOMAIN = "hetc"
VERSION = 1

EXPERT_OPERATORS = ("Expert", "Expert16")
"""Operators of a digital expert."""

ANALOG_ATTRIBUTES = {
    "unit": "string",
    "mode": "string",
    "transpose_weight": "int",
    "tile_rows": "int",
    "tile_columns": "int",
    "dac_bits": "int",
    "adc_bits": "int",
    "out_bound": "float",
    "noise_form": "string",
    "noise_sigma": "floats",
    "noise_sigma_breaks": "floats",
    "noise_times": "floats",
    "noise_floor": "float",
    "noise_offset": "float",
    "noise_scale": "float",
    "drift_time": "float",
    "drift_reference": "float",
    "drift_mean": "floats",
    "drift_deviation": "floats",
    "drift_compensation": "string",
    "flicker_noise": "float",
    "flicker_deviation": "floats",
    "flicker_read_time": "float",
    "output_noise": "float",
    "weight_noise": "float",
    "weight_noise_form": "string",
    "ir_drop": "float",
    "dac_rounding": "string",
    "bound_management": "string",
    "scale_mode": "string",
    "seed": "int",
    "read_seed": "int",
    "rank": "int",
    "group_size": "int",
    "digital_count": "int",
}
EXPERT_ATTRIBUTES = {"activation": "string", "transpose_weight": "int"}
STREAMS = {"gate_stream": "int", "up_stream": "int", "down_stream": "int"}

#: Operator -> attribute -> type as onnx's text format spells it. Every attribute is required.
ATTRIBUTES: dict[str, dict[str, str]] = {
    "AnalogMatMul": {**ANALOG_ATTRIBUTES, "stream": "int"},
    "AnalogExpert": {**ANALOG_ATTRIBUTES, **STREAMS, "activation": "string"},
    "Expert": EXPERT_ATTRIBUTES,
    "Expert16": EXPERT_ATTRIBUTES,
    "MatMul16": {"transpose_weight": "int"},
    "RequireLibrary": {},
}

EXPERT_INPUTS = {
    "x": "T",
    "gate": "W?",
    "up": "W",
    "down": "W",
    "gate_bias": "B?",
    "up_bias": "B?",
    "down_bias": "B?",
}
CONVERTERS = ("gate_adc_bound", "up_adc_bound", "down_adc_bound")
SCALES = ("gate_weight_scale", "up_weight_scale", "down_weight_scale")

#: Operator -> input -> type variable, with a question mark if the input is optional.
INPUTS: dict[str, dict[str, str]] = {
    "AnalogMatMul": {
        "x": "T",
        "w": "W",
        **dict.fromkeys(("input_range", "adc_bound", "weight_scale"), "F?"),
        **dict.fromkeys(("input_rank", "output_rank"), "I?"),
    },
    "AnalogExpert": {
        **EXPERT_INPUTS,
        **dict.fromkeys(("in_range", "mid_range", *CONVERTERS, *SCALES), "F?"),
        "neuron_rank": "I?",
    },
    "Expert": EXPERT_INPUTS,
    "Expert16": EXPERT_INPUTS,
    "MatMul16": {"x": "T", "w": "W"},
    "RequireLibrary": {"x": "T"},
}

FLOAT32 = ["tensor(float)"]
FLOAT16 = ["tensor(float16)", "tensor(bfloat16)"]
ANALOG_TYPES = {
    **dict.fromkeys(("T", "W", "B"), FLOAT32 + FLOAT16),
    "F": FLOAT32,
    "I": ["tensor(int32)"],
}


def attribute_types(operator: str, activation: str = "") -> dict[str, str]:
    """The attributes of an operator's nodes with this activation, and their types."""
    return {**ATTRIBUTES[operator], **dict.fromkeys(ACTIVATION_ATTRIBUTES.get(activation, ()), "float")}


def register() -> None:
    """Register the schemas with onnx; once registered they stay, and a second call does nothing."""
    for operator in ATTRIBUTES:
        if not onnx.defs.has(operator, DOMAIN):
            onnx.defs.register_schema(_schema(operator))


def _schema(operator: str) -> OpSchema:
    inputs = [
        OpSchema.FormalParameter(
            name,
            variable.rstrip("?"),
            param_option=OpSchema.FormalParameterOption.Optional
            if variable.endswith("?")
            else OpSchema.FormalParameterOption.Single,
        )
        for name, variable in INPUTS[operator].items()
    ]
    schema = OpSchema(
        operator,
        DOMAIN,
        VERSION,
        "See docs/operators.md.",
        inputs=inputs,
        outputs=[OpSchema.FormalParameter("y", "T")],
        type_constraints=[(variable, types, "") for variable, types in _types(operator).items()],
        attributes=[
            OpSchema.Attribute(name, getattr(OpSchema.AttrType, kind.upper()), required=True)
            for name, kind in ATTRIBUTES[operator].items()
        ]
        + [
            OpSchema.Attribute(name, OpSchema.AttrType.FLOAT, required=False)
            for name in sorted({name for names in ACTIVATION_ATTRIBUTES.values() for name in names})
            if "activation" in ATTRIBUTES[operator]
        ],
    )
    schema.set_type_and_shape_inference_function(
        _infer_matmul if operator in ("AnalogMatMul", "MatMul16") else _infer_like_x
    )
    return schema


def _types(operator: str) -> dict[str, list[str]]:
    if operator == "RequireLibrary":
        identity = onnx.defs.get_schema("Identity").type_constraints[0].allowed_type_strs
        return {"T": [kind for kind in identity if kind.startswith("tensor(")]}
    if operator == "Expert":
        return {"T": FLOAT32, "W": FLOAT32, "B": FLOAT32}
    if operator == "Expert16":
        return {"T": FLOAT32 + FLOAT16, "W": FLOAT16, "B": FLOAT32 + FLOAT16}
    if operator == "MatMul16":
        return {"T": FLOAT32 + FLOAT16, "W": FLOAT16}
    return ANALOG_TYPES


def _infer_like_x(context: InferenceContext) -> None:
    x = context.get_input_type(0)
    if x is not None:
        context.set_output_type(0, x)


def _infer_matmul(context: InferenceContext) -> None:
    x, w = context.get_input_type(0), context.get_input_type(1)
    if x is None:
        return
    y = TypeProto()
    y.CopyFrom(x)
    if x.tensor_type.HasField("shape"):
        last = y.tensor_type.shape.dim[-1]
        last.Clear()
        if w is not None and len(w.tensor_type.shape.dim) == 2:
            transposed = context.get_attribute("transpose_weight")
            last.CopyFrom(w.tensor_type.shape.dim[0 if transposed is not None and transposed.i else 1])
    context.set_output_type(0, y)
