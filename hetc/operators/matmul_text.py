"""The text that the body of `AnalogMatMul` is put together from (`hetc.operators.analog`)."""

from __future__ import annotations

__all__ = [
    "ALL_ANALOG",
    "CLIPS",
    "COLUMN_SCALE",
    "CONVERSION",
    "DIGITAL_NEURONS",
    "DOUBLE_RANGES",
    "DOUBLINGS",
    "DYNAMIC_RANGE",
    "DYNAMIC_SCALE",
    "FIRST_IS_LAST",
    "GEOMETRY",
    "LEVELS",
    "LOOP",
    "MASKS",
    "SCALED_BOUND",
    "STATIC_BOUND",
    "STATIC_RANGE",
    "STATIC_SCALE",
    "TILES",
    "TILE_SCALE",
]

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
    LOOPED = Loop (iterations, always, STATE) <body = slice_sum
        (int64 index, bool before, ARGUMENTS) => (bool after, RESULTS) {
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
        x_whole = Slice (flat, start, end, one_list)
        w_stored = Slice (w, start, end, input_axis)
        w_whole = Cast <to = 1> (w_stored)
        x_none = Sub (x_whole, x_whole)
        spoiled = ReduceSum (x_none, one_list)
        PARTS
        RANGE
        BOUND
        bound_tiny = Less (bound, tiny)
        bound_divisor = Where (bound_tiny, float_one, bound)
        bound_live = Where (bound_tiny, float_zero, bound)
        full_scale = Mul (dac_levels, bound_divisor)
        adc_gain = Div (adc_levels, full_scale)
        CONVERSION
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
    TOTAL
    leading = Shape <end = -1> (x)
    full_shape = Concat <axis = 0> (leading, outputs_list)
    shaped = Reshape <allowzero = 1> (total, full_shape)
    y = CastLike (shaped, x)
"""

# Everything is analog: one sum goes through the loop.
ALL_ANALOG = {
    "LOOPED": "total",
    "STATE": "empty_sum",
    "ARGUMENTS": "float[] sum",
    "RESULTS": "float[] next_sum",
    "TOTAL": "",
    "PARTS": """x_slice = Identity (x_whole)
        w_slice = Identity (w_whole)""",
}

# Digital inputs and outputs leave zeros on the crossbars: they count for no range, scale, code or clipping.
# What they leave is summed beside it.
DIGITAL_NEURONS = {
    "LOOPED": "analog_total, digital_total",
    "STATE": "empty_sum, empty_sum",
    "ARGUMENTS": "float[] sum, float[] digital_sum",
    "RESULTS": "float[] next_sum, float[] next_digital_sum",
    "TOTAL": "total = Add (analog_total, digital_total)",
    "PARTS": """input_flags = Slice (input_digital, start, end, first_axis)
        input_mask = Reshape (input_flags, input_line)
        w_digital = Or (input_mask, output_mask)
        w_slice = Where (w_digital, float_zero, w_whole)
        w_rest = Where (w_digital, w_whole, float_zero)
        x_slice = Where (input_flags, float_zero, x_whole)
        digital_product = Gemm <transB: int = @transpose_weight> (x_whole, w_rest)
        next_digital_sum = Add (digital_sum, digital_product)""",
}
MASKS = """
    wide_count = Constant <value_int: int = @digital_count> ()
    count = Cast <to = 6> (wide_count)
    input_digital = Less (input_rank, count)
    output_digital = Less (output_rank, count)
    first_axis = Reshape (zero, list)
    along_columns = Constant <value = int64[2] {-1, 1}> ()
    along_rows = Constant <value = int64[2] {1, -1}> ()
    is_transposed = Cast <to = 9> (transposed)
    input_line = Where (is_transposed, along_rows, along_columns)
    output_line = Where (is_transposed, along_columns, along_rows)
    output_mask = Reshape (output_digital, output_line)
"""

# One conversion of the slice with the ranges TRY_range, up to the input of the ADC.
CONVERSION = """
        TRY_tiny = Less (TRY_range, tiny)
        TRY_divisor = Where (TRY_tiny, float_one, TRY_range)
        TRY_least = Neg (TRY_range)
        TRY_gain = Div (dac_levels, TRY_divisor)
        TRY_below = Min (x_slice, TRY_range)
        TRY_clamped = Max (TRY_below, TRY_least)
        TRY_scaled = Mul (TRY_clamped, TRY_gain)
        TRY_codes = Round (TRY_scaled)
        TRY_q = Where (dac_there, TRY_codes, TRY_scaled)
        TRY_a = Gemm <transB: int = @transpose_weight> (TRY_q, w_slice)
        TRY_value = Mul (TRY_a, adc_gain)
"""
FIRST_IS_LAST = """
        range = Identity (first_range)
        a = Identity (first_a)
        value = Identity (first_value)"""

# Which rows clip, and whether any does; a NaN doesn't.
CLIPS = """
        TRY_rounded = Round (TRY_value)
        TRY_size = Abs (TRY_rounded)
        TRY_peak = ReduceMax <keepdims = 1> (TRY_size, one_list)
        TRY_clips = Greater (TRY_peak, adc_levels)
        TRY_flags = Cast <to = 1> (TRY_clips)
        TRY_flag = ReduceMax <keepdims = 0> (TRY_flags)
        TRY_any = Greater (TRY_flag, float_zero)"""

# Bound management: rows that clip are converted again with twice the range. It costs a comparison where none
# does. Without an ADC there are no doublings, so that `a` is the first.
DOUBLE_RANGES = """
        a = Identity (first_a)
        range_shape = Concat <axis = 0> (row_count, one_list)
        range_of_row = Expand (first_range, range_shape)
        clipping, range, value = Loop (doublings, first_any, first_clips, range_of_row, first_value)
            <body = double_ranges
            (int64 attempt, bool active, bool[] clips, float[] tried_range, float[] tried_value)
            => (bool next_any, bool[] next_clips, float[] next_range, float[] next_value) {
            doubled = Mul (tried_range, two)
            next_range = Where (clips, doubled, tried_range)
            NEXT_CONVERSION
        }>"""

# The largest power of 2 up to 1000 and, with a DAC, a quarter of its levels (never a power of 2 itself).
DOUBLINGS = """
    four = Constant <value = float {4.0}> ()
    thousand = Constant <value = float {1000.0}> ()
    quarter = Div (dac_levels, four)
    quarter_or_less = Min (quarter, thousand)
    largest_factor = Where (dac_there, quarter_or_less, thousand)
    factor_log = Log (largest_factor)
    two_log = Log (two)
    factor_power = Div (factor_log, two_log)
    whole_power = Floor (factor_power)
    power = Max (whole_power, float_zero)
    power_count = Cast <to = 7> (power)
    doublings = Where (adc_there, power_count, zero)
"""

DYNAMIC_RANGE = """
        x_size = Abs (x_slice)
        first_range = ReduceMax <keepdims = 1> (x_size, one_list)"""
STATIC_RANGE = """
        first_range = Gather (input_range, index)"""
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
