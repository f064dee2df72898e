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
from hetc.operators.schemas import ATTRIBUTES, DOMAIN, INPUTS, VERSION, attribute_types

__all__ = ["analog_expert_function", "analog_matmul_function"]

# Scalars and geometry. `_levels` of 0 bits is 1: a factor that changes nothing.
GEOMETRY = """
    zero = Constant <value = int64 {0}> ()
    one = Constant <value = int64 {1}> ()
    list = Constant <value = int64[1] {-1}> ()
    float_zero = Constant <value = float {0.0}> ()
    float_one = Constant <value = float {1.0}> ()
    two = Constant <value = float {2.0}> ()
    tiny = Constant <value = float {1e-30}> ()
    always = Constant <value = bool {1}> ()
    transposed = Constant <value_int: int = @transpose_weight> ()
    tile_rows = Constant <value_int: int = @tile_rows> ()
    out_bound = Constant <value_float: float = @out_bound> ()
    input_axis = Reshape (transposed, list)
    output_axis = Sub (one, transposed)
    w_shape = Shape (w)
    inputs = Gather (w_shape, transposed)
    outputs = Gather (w_shape, output_axis)
    inputs_up = Add (inputs, tile_rows)
    inputs_up_less = Sub (inputs_up, one)
    slices = Div (inputs_up_less, tile_rows)
    base = Div (inputs, slices)
    extra = Mod (inputs, slices)
    x_shape = Shape (x)
    inputs_list = Reshape (inputs, list)
    outputs_list = Reshape (outputs, list)
    flat_shape = Concat <axis = 0> (list, inputs_list)
    x_wide = Cast <to = 1> (x)
    flat = Reshape (x_wide, flat_shape)
    row_count = Shape <start = 0, end = 1> (flat)
    y_shape = Concat <axis = 0> (row_count, outputs_list)
    empty_sum = Expand (float_zero, y_shape)
"""

# NAME_levels = 2^(bits-1) - 1, or 1 for 0 bits.
LEVELS = """
    NAME_bits = Constant <value_int: int = @NAME_bits> ()
    NAME_there = Greater (NAME_bits, zero)
    NAME_exponent = Sub (NAME_bits, one)
    NAME_exponent_float = Cast <to = 1> (NAME_exponent)
    NAME_power = Pow (two, NAME_exponent_float)
    NAME_power_less = Sub (NAME_power, float_one)
    NAME_levels = Where (NAME_there, NAME_power_less, float_one)
"""

# The tile of each column: balanced, the first `wide` tiles have one column more.
TILES = """
    tile_columns = Constant <value_int: int = @tile_columns> ()
    outputs_up = Add (outputs, tile_columns)
    outputs_up_less = Sub (outputs_up, one)
    tiles = Div (outputs_up_less, tile_columns)
    tile_count = Reshape (tiles, list)
    narrow = Div (outputs, tiles)
    wide = Mod (outputs, tiles)
    wider = Add (narrow, one)
    wide_columns = Mul (wide, wider)
    columns = Range (zero, outputs, one)
    wide_tile = Div (columns, wider)
    past_wide = Sub (columns, wide_columns)
    narrow_tile = Div (past_wide, narrow)
    later_tile = Add (narrow_tile, wide)
    is_wide = Less (columns, wide_columns)
    tile_of_column = Where (is_wide, wide_tile, later_tile)
"""

# Without rows there are no iterations: an idle expert costs nothing and its weights are never read.
# The codes of a tiny range, divided by 1, are 0; a tiny bound needs bound_live to give a step of 0.
# x - x is 0, or NaN where x is not finite: added to the sum it spoils the row.
LOOP = """
    adc_least = Neg (adc_levels)
    size = Size (flat)
    any = Min (size, one)
    iterations = Mul (slices, any)
    total = Loop (iterations, always, empty_sum) <body = slice_sum
        (int64 index, bool before, float[] sum) => (bool after, float[] next_sum) {
        after = Identity (before)
        next = Add (index, one)
        whole_start = Mul (index, base)
        whole_end = Mul (next, base)
        extra_start = Min (index, extra)
        extra_end = Min (next, extra)
        start_scalar = Add (whole_start, extra_start)
        end_scalar = Add (whole_end, extra_end)
        start = Reshape (start_scalar, list)
        end = Reshape (end_scalar, list)
        x_slice = Slice (flat, start, end, one_list)
        w_stored = Slice (w, start, end, input_axis)
        w_slice = Cast <to = 1> (w_stored)
        x_none = Sub (x_slice, x_slice)
        spoiled = ReduceSum (x_none, one_list)
        RANGE
        range_tiny = Less (range, tiny)
        range_divisor = Where (range_tiny, float_one, range)
        range_least = Neg (range)
        dac_gain = Div (dac_levels, range_divisor)
        x_below = Min (x_slice, range)
        x_clamped = Max (x_below, range_least)
        x_scaled = Mul (x_clamped, dac_gain)
        x_codes = Round (x_scaled)
        q = Where (dac_there, x_codes, x_scaled)
        a = Gemm <transB: int = @transpose_weight> (q, w_slice)
        BOUND
        bound_tiny = Less (bound, tiny)
        bound_divisor = Where (bound_tiny, float_one, bound)
        bound_live = Where (bound_tiny, float_zero, bound)
        full_scale = Mul (dac_levels, bound_divisor)
        adc_gain = Div (adc_levels, full_scale)
        value = Mul (a, adc_gain)
        rounded = Round (value)
        code = Clip (rounded, adc_least, adc_levels)
        adc_unit = Div (bound_live, adc_levels)
        adc_step = Mul (range, adc_unit)
        plain_step = Div (range, dac_levels)
        code_or_a = Where (adc_there, code, a)
        step = Where (adc_there, adc_step, plain_step)
        contribution = Mul (code_or_a, step)
        partial = Add (sum, contribution)
        next_sum = Add (partial, spoiled)
    }>
    leading = Shape <end = -1> (x)
    full_shape = Concat <axis = 0> (leading, outputs_list)
    shaped = Reshape <allowzero = 1> (total, full_shape)
    y = CastLike (shaped, x)
"""

DYNAMIC_RANGE = """
        x_size = Abs (x_slice)
        range = ReduceMax <keepdims = 1> (x_size, one_list)"""
STATIC_RANGE = """
        range = Gather (input_range, index)"""
DYNAMIC_SCALE = """
        w_size = Abs (w_slice)
        scale_of_column = ReduceMax <keepdims = 0> (w_size, input_axis)"""
COLUMN_SCALE = """
        scale = Identity (scale_of_column)"""
TILE_SCALE = """
        scale_none = Expand (float_zero, tile_count)
        scale_of_tile = ScatterElements <reduction = "max"> (scale_none, tile_of_column, scale_of_column)
        scale = Gather (scale_of_tile, tile_of_column)"""
STATIC_SCALE = """
        scale = Gather (weight_scale, index)"""
SCALED_BOUND = """
        bound = Mul (out_bound, scale)"""
STATIC_BOUND = """
        bound = Gather (adc_bound, index)"""


def analog_matmul_function(
    *,
    opset: int,
    input_range: bool = False,
    adc_bound: bool = False,
    weight_scale: bool = False,
    scale_per_tile: bool = False,
) -> ir.Function:
    """Body of `AnalogMatMul`: a Loop over K-slices that serves every shape, orientation and type.

    Args:
        opset: version of the standard operators in the model, 18 to 21; a body must have the same.
        input_range, adc_bound, weight_scale: whether the model's nodes have this input. Inputs after the last
            one that is used are not declared, those before it are.
        scale_per_tile: whether the nodes have ``scale_mode`` ``tile``.
    """
    scale = STATIC_SCALE if weight_scale else DYNAMIC_SCALE + (TILE_SCALE if scale_per_tile else COLUMN_SCALE)
    bound = STATIC_BOUND if adc_bound else scale + SCALED_BOUND
    loop = LOOP.replace("RANGE", STATIC_RANGE if input_range else DYNAMIC_RANGE).replace("BOUND", bound)
    levels = LEVELS.replace("NAME", "dac") + LEVELS.replace("NAME", "adc")
    one_list = "\n    one_list = Constant <value = int64[1] {1}> ()"
    used = {"x", "w"}
    used |= {
        n
        for n, u in (("input_range", input_range), ("adc_bound", adc_bound), ("weight_scale", weight_scale))
        if u
    }
    tiles = TILES if "scale_of_tile" in loop else ""
    return _function("AnalogMatMul", opset, used, GEOMETRY + one_list + levels + tiles + loop)


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
) -> ir.Function:
    """Body of `AnalogExpert`: calls of `AnalogMatMul`, whose function with the same inputs stands first.

    Args:
        opset: see `analog_matmul_function`.
        gated: whether the experts have a gate.
        activation: a key of ``ACTIVATIONS``.
        gate_bias, up_bias, down_bias: whether the model's nodes have this input.
        input_range, adc_bound, weight_scale: whether every product has its range (``in_range``,
            ``mid_range``), bound and scale.

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
        while optional and optional[-1] == '""':
            optional.pop()
        used.update(value for value in optional if value != '""')
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

    text = "\n    x_wide = Cast <to = 1> (x)"
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
