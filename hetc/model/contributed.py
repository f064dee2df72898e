"""Operators that ONNX Runtime contributed: their schemas for onnx, which doesn't know them.

A deployed model is what ONNX Runtime's optimizer or onnxruntime-genai's builder wrote: it is full of
`SimplifiedLayerNormalization` (of the standard domain), `GroupQueryAttention` or `MatMulNBits`. Valid is
what ONNX Runtime loads, so its schemas are taken over: onnx's checker then checks these nodes too, and its
shape inference sees types behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import onnx
from onnx.defs import OpSchema
from onnx.shape_inference import InferenceContext

__all__ = ["register_contributed"]

DOMAINS = ("", "com.microsoft")
SHAPE_OF_FIRST = frozenset(
    [
        "BiasGelu",
        "FastGelu",
        "Gelu",
        "QuickGelu",
        "RotaryEmbedding",
        "SimplifiedLayerNormalization",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
        "MoE",
        "QMoE",
    ]
)
"""Operators whose first output has the shape of their first input."""


def register_contributed(operators: Iterable[tuple[str, str]]) -> None:
    """Registers with onnx what ONNX Runtime knows of operators and onnx doesn't.

    Args:
        operators: Domains and names of the operators that a model uses.
    """
    unknown = {
        (domain, name)
        for domain, name in {("" if domain == "ai.onnx" else domain, name) for domain, name in operators}
        if domain in DOMAINS and not onnx.defs.has(name, domain)
    }
    if not unknown:
        return
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    newest: dict[tuple[str, str], Any] = {}
    for schema in runtime.get_all_operator_schema():
        key = (schema.domain, schema.name)
        if key in unknown and (key not in newest or newest[key].since_version < schema.since_version):
            newest[key] = schema
    for schema in newest.values():
        onnx.defs.register_schema(_for_onnx(schema))


def _for_onnx(schema: Any) -> OpSchema:
    """A schema of ONNX Runtime as one of onnx, valid from version 1."""
    taken = OpSchema(
        schema.name,
        schema.domain,
        1,
        "Contributed by ONNX Runtime.",
        inputs=[_parameter(one) for one in schema.inputs],
        outputs=[_parameter(one) for one in schema.outputs],
        type_constraints=[
            (one.type_param_str, list(one.allowed_type_strs), "") for one in schema.type_constraints
        ],
        attributes=[
            OpSchema.Attribute(name, getattr(OpSchema.AttrType, one.type.name), required=one.required)
            for name, one in schema.attributes.items()
        ],
    )
    inputs = [one.typeStr for one in schema.inputs]
    outputs = [one.typeStr for one in schema.outputs]
    taken.set_type_and_shape_inference_function(
        _inference(inputs, outputs, like_first=schema.name in SHAPE_OF_FIRST)
    )
    return taken


def _parameter(parameter: Any) -> OpSchema.FormalParameter:
    return OpSchema.FormalParameter(
        parameter.name,
        parameter.typeStr,
        param_option=getattr(OpSchema.FormalParameterOption, parameter.option.name),
        is_homogeneous=parameter.isHomogeneous,
    )


def _inference(
    inputs: list[str], outputs: list[str], *, like_first: bool
) -> Callable[[InferenceContext], None]:
    """Outputs have the type of the input that shares their type variable; the first one maybe its shape."""

    def infer(context: InferenceContext) -> None:
        given = [context.get_input_type(index) for index in range(context.get_num_inputs())]
        for index in range(min(context.get_num_outputs(), len(outputs))):
            kind = next(
                (
                    one.tensor_type.elem_type
                    for one, variable in zip(given, inputs, strict=False)
                    if one is not None and variable == outputs[index] and one.tensor_type.elem_type
                ),
                None,
            )
            if kind is None:
                continue
            inferred = onnx.TypeProto()
            inferred.tensor_type.elem_type = kind
            if index == 0 and like_first and given[0] is not None and given[0].tensor_type.HasField("shape"):
                inferred.tensor_type.shape.CopyFrom(given[0].tensor_type.shape)
            context.set_output_type(index, inferred)

    return infer
