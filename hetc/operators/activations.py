"""Activations of an expert as standard operators, for the function bodies."""

from __future__ import annotations

from math import pi, sqrt

__all__ = ["ACTIVATIONS"]

# Each turns the float32 tensor z into z_activated. Opset 18 has no Gelu.
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
}
