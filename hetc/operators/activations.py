"""Activations of an expert as standard operators, for the function bodies."""

from __future__ import annotations

from math import pi, sqrt

from hetc.base.errors import InvalidInputError

__all__ = [
    "ACTIVATIONS",
    "ACTIVATION_ATTRIBUTES",
    "CLAMPED_SWISH",
    "NEEDS_GATE",
    "SOFTCAPPED_SWISH",
    "combine",
]

CLAMPED_SWISH = "clamped_swish"
"""The activation of gated experts that bounds gate and up; it has attributes of its own."""

SOFTCAPPED_SWISH = "softcapped_swish"
"""The activation of gated experts that bounds gate and up smoothly; it has attributes of its own."""

NEEDS_GATE = (CLAMPED_SWISH, SOFTCAPPED_SWISH)
"""Activations of gate and up together."""

ACTIVATION_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "leaky_relu": ("activation_alpha",),
    "elu": ("activation_alpha",),
    CLAMPED_SWISH: ("activation_alpha", "activation_beta", "activation_limit"),
    SOFTCAPPED_SWISH: ("activation_gate_cap", "activation_up_cap"),
}
"""Float attributes that nodes with an activation have, and no others."""

# Each but those of gate and up turns the float32 tensor z into z_activated. Opset 18 has no Gelu.
ACTIVATIONS: dict[str, str] = {
    "silu": """
        z_sigmoid = Sigmoid (z)
        z_activated = Mul (z, z_sigmoid)""",
    "gelu": f"""
        z_half = Constant <value = float {{0.5}}> ()
        z_one = Constant <value = float {{1.0}}> ()
        z_root = Constant <value = float {{{sqrt(2)!r}}}> ()
        z_erf_of = Div (z, z_root)
        z_erf = Erf (z_erf_of)
        z_factor = Add (z_one, z_erf)
        z_halved = Mul (z, z_half)
        z_activated = Mul (z_halved, z_factor)""",
    "gelu_tanh": f"""
        z_half = Constant <value = float {{0.5}}> ()
        z_one = Constant <value = float {{1.0}}> ()
        z_cubic = Constant <value = float {{0.044715}}> ()
        z_root = Constant <value = float {{{sqrt(2 / pi)!r}}}> ()
        z_squared = Mul (z, z)
        z_scaled = Mul (z_squared, z_cubic)
        z_series = Add (z_one, z_scaled)
        z_linear = Mul (z, z_root)
        z_tanh_of = Mul (z_linear, z_series)
        z_tanh = Tanh (z_tanh_of)
        z_factor = Add (z_one, z_tanh)
        z_halved = Mul (z, z_half)
        z_activated = Mul (z_halved, z_factor)""",
    "relu": """
        z_activated = Relu (z)""",
    "relu2": """
        z_positive = Relu (z)
        z_activated = Mul (z_positive, z_positive)""",
    "leaky_relu": """
        z_zero = Constant <value = float {0.0}> ()
        z_alpha = Constant <value_float: float = @activation_alpha> ()
        z_positive = Relu (z)
        z_negative = Min (z, z_zero)
        z_scaled = Mul (z_negative, z_alpha)
        z_activated = Add (z_positive, z_scaled)""",
    "elu": """
        z_zero = Constant <value = float {0.0}> ()
        z_one = Constant <value = float {1.0}> ()
        z_alpha = Constant <value_float: float = @activation_alpha> ()
        z_positive = Relu (z)
        z_negative = Min (z, z_zero)
        z_exponential = Exp (z_negative)
        z_minus_one = Sub (z_exponential, z_one)
        z_scaled = Mul (z_minus_one, z_alpha)
        z_activated = Add (z_positive, z_scaled)""",
    "relu6": """
        z_zero = Constant <value = float {0.0}> ()
        z_six = Constant <value = float {6.0}> ()
        z_activated = Clip (z, z_zero, z_six)""",
    "tanh": """
        z_activated = Tanh (z)""",
    "sigmoid": """
        z_activated = Sigmoid (z)""",
    "softplus": """
        z_activated = Softplus (z)""",
    "hard_swish": """
        z_activated = HardSwish (z)""",
    SOFTCAPPED_SWISH: """
        gate_cap = Constant <value_float: float = @activation_gate_cap> ()
        up_cap = Constant <value_float: float = @activation_up_cap> ()
        gate_ratio = Div (gate_y, gate_cap)
        gate_tanh = Tanh (gate_ratio)
        gate_capped = Mul (gate_tanh, gate_cap)
        gate_sigmoid = Sigmoid (gate_y)
        z_activated = Mul (gate_capped, gate_sigmoid)
        up_ratio = Div (up_y, up_cap)
        up_tanh = Tanh (up_ratio)
        up_capped = Mul (up_tanh, up_cap)
        h = Mul (z_activated, up_capped)""",
    CLAMPED_SWISH: """
        limit = Constant <value_float: float = @activation_limit> ()
        limit_below = Neg (limit)
        alpha = Constant <value_float: float = @activation_alpha> ()
        beta = Constant <value_float: float = @activation_beta> ()
        z_bounded = Min (gate_y, limit)
        z_scaled = Mul (z_bounded, alpha)
        z_sigmoid = Sigmoid (z_scaled)
        z_activated = Mul (z_bounded, z_sigmoid)
        up_below = Min (up_y, limit)
        up_bounded = Max (up_below, limit_below)
        up_shifted = Add (up_bounded, beta)
        h = Mul (z_activated, up_shifted)""",
}


def combine(activation: str, *, gated: bool) -> str:
    """Text that makes ``h`` of ``up_y`` and, if gated, ``gate_y``: what stands between the products.

    Raises:
        InvalidInputError: for an activation that has no body, or none without a gate.
    """
    if activation not in ACTIVATIONS:
        raise InvalidInputError(f"activation {activation!r} has no body; known are {', '.join(ACTIVATIONS)}")
    text = ACTIVATIONS[activation]
    if activation in NEEDS_GATE:
        if not gated:
            raise InvalidInputError(f"activation {activation!r} needs experts with a gate")
        return text
    if gated:
        return f"\n        z = Identity (gate_y){text}\n        h = Mul (z_activated, up_y)"
    return f"\n        z = Identity (up_y){text}\n        h = Identity (z_activated)"
