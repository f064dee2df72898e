"""Function bodies of `AnalogMatMul` and `AnalogExpert` in standard operators.

A runtime without hetc's library inlines them. They compute mode ``converters`` whatever the attribute
``mode`` says, since standard operators can't draw the noise (docs/operators.md). A model has one function per
name, so the bodies are built for the optional inputs that the model uses, the same on all its nodes.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx import parser

from hetc.operators.activations import combine
from hetc.operators.matmul_text import (
    ALL_ANALOG,
    CLIPS,
    COLUMN_SCALE,
    CONVERSION,
    DIGITAL_NEURONS,
    DOUBLE_RANGES,
    DOUBLINGS,
    DYNAMIC_RANGE,
    DYNAMIC_SCALE,
    FIRST_IS_LAST,
    GEOMETRY,
    LEVELS,
    LOOP,
    MASKS,
    SCALED_BOUND,
    STATIC_BOUND,
    STATIC_RANGE,
    STATIC_SCALE,
    TILE_SCALE,
    TILES,
)
from hetc.operators.schemas import ATTRIBUTES, DOMAIN, INPUTS, VERSION, attribute_types

__all__ = ["analog_expert_function", "analog_matmul_function"]

# Ranks of x's elements and of y's, none of which is ever digital.
NO_RANKS = """
    hidden_width = Shape <start = -1> (x)
    never = Constant <value = int32[1] {2147483647}> ()
    no_input_rank = Expand (never, hidden_width)
    no_output_rank = Identity (no_input_rank)"""


def analog_matmul_function(
    *,
    opset: int,
    input_range: bool = False,
    adc_bound: bool = False,
    weight_scale: bool = False,
    ranks: bool = False,
    scale_per_tile: bool = False,
    bound_management: bool = False,
) -> ir.Function:
    """Body of `AnalogMatMul`: a Loop over K-slices that serves every shape, orientation and type.

    Args:
        opset: version of the standard operators in the model, 18 to 24; a body must have the same.
        input_range, adc_bound, weight_scale: whether the model's nodes have this input. Inputs after the last
            one that is used are not declared, those before it are.
        ranks: whether they have ``input_rank`` and ``output_rank``.
        scale_per_tile: whether the nodes have ``scale_mode`` ``tile``.
        bound_management: whether they have ``bound_management`` ``iterative``.
    """
    scale = STATIC_SCALE if weight_scale else DYNAMIC_SCALE + (TILE_SCALE if scale_per_tile else COLUMN_SCALE)
    bound = STATIC_BOUND if adc_bound else scale + SCALED_BOUND
    conversion = CONVERSION.replace("TRY", "first") + FIRST_IS_LAST
    if bound_management:
        again = (CONVERSION + CLIPS).replace("TRY", "next")
        conversion = (CONVERSION + CLIPS).replace("TRY", "first")
        conversion += DOUBLE_RANGES.replace("NEXT_CONVERSION", again)
    loop = LOOP
    for name, part in (DIGITAL_NEURONS if ranks else ALL_ANALOG).items():
        loop = loop.replace(name, part)
    loop = loop.replace("RANGE", STATIC_RANGE if input_range else DYNAMIC_RANGE)
    loop = loop.replace("BOUND", bound).replace("CONVERSION", conversion)
    levels = LEVELS.replace("NAME", "dac") + LEVELS.replace("NAME", "adc")
    one_list = "\n    one_list = Constant <value = int64[1] {1}> ()"
    used = {"x", "w"}
    used |= {
        n
        for n, u in (("input_range", input_range), ("adc_bound", adc_bound), ("weight_scale", weight_scale))
        if u
    }
    if ranks:
        used |= {"input_rank", "output_rank"}
    masks = MASKS if ranks else ""
    tiles = TILES if "scale_of_tile" in loop else ""
    doublings = DOUBLINGS if bound_management else ""
    return _function(
        "AnalogMatMul", opset, used, GEOMETRY + one_list + levels + doublings + tiles + masks + loop
    )


def analog_expert_function(
    *,
    opset: int,
    gated: bool,
    activation: str,
    gate_bias: bool = False,
    up_bias: bool = False,
    down_bias: bool = False,
    input_range: bool = False,
    adc_bound: bool = False,
    weight_scale: bool = False,
    ranks: bool = False,
) -> ir.Function:
    """Body of `AnalogExpert`: calls of `AnalogMatMul`, whose function with the same inputs stands first.

    Args:
        opset: see `analog_matmul_function`.
        gated: whether the experts have a gate.
        activation: a key of ``ACTIVATIONS``.
        gate_bias, up_bias, down_bias: whether the model's nodes have this input.
        input_range, adc_bound, weight_scale: whether every product has its range (``in_range``,
            ``mid_range``), bound and scale.
        ranks: whether they have ``neuron_rank``.

    Raises:
        InvalidInputError: for an activation that has no body, or none without a gate.
    """
    biases = {"gate": gate_bias, "up": up_bias, "down": down_bias}
    ranges = {"gate": "in_range", "up": "in_range", "down": "mid_range"}
    used = {"x"}

    def project(source: str, name: str) -> str:
        """Text that makes the tensor ``<name>_y`` of ``source`` times the weight ``name``."""
        used.add(name)
        optional = [
            ranges[name] if input_range else '""',
            f"{name}_adc_bound" if adc_bound else '""',
            f"{name}_weight_scale" if weight_scale else '""',
        ]
        own = ("neuron_rank", "no_output_rank") if name == "down" else ("no_input_rank", "neuron_rank")
        optional += own if ranks else ()
        while optional and optional[-1] == '""':
            optional.pop()
        used.update(value for value in optional if value in INPUTS["AnalogExpert"])
        attributes = ", ".join(
            f"{key}: {kind} = @{name + '_stream' if key == 'stream' else key}"
            for key, kind in ATTRIBUTES["AnalogMatMul"].items()
        )
        inputs = ", ".join([source, name, *optional])
        product = f"{DOMAIN}.AnalogMatMul <{attributes}> ({inputs})"
        if not biases[name]:
            return f"\n    {name}_y = {product}"
        used.add(f"{name}_bias")
        return (
            f"\n    {name}_product = {product}"
            f"\n    {name}_bias_wide = Cast <to = 1> ({name}_bias)"
            f"\n    {name}_y = Add ({name}_product, {name}_bias_wide)"
        )

    text = "\n    x_wide = Cast <to = 1> (x)" + (NO_RANKS if ranks else "")
    if gated:
        text += project("x_wide", "gate")
    text += project("x_wide", "up") + combine(activation, gated=gated)
    text += project("h", "down") + "\n    y = CastLike (down_y, x)"
    return _function("AnalogExpert", opset, used, text, activation)


def _function(operator: str, opset: int, used: set[str], body: str, activation: str = "") -> ir.Function:
    names = list(INPUTS[operator])
    while names[-1] not in used:
        names.pop()
    attributes = ", ".join(attribute_types(operator, activation))
    text = (
        f'<opset_import: ["" : {opset}, "{DOMAIN}" : {VERSION}], domain: "{DOMAIN}">\n'
        f"{operator} <{attributes}> ({', '.join(names)}) => (y)\n{{{body}\n}}"
    )
    function: onnx.FunctionProto = parser.parse_function(text)
    return ir.serde.deserialize_function(function)
