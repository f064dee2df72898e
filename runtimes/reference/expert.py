"""One expert of an MoE layer, digital and on analog crossbars."""

from __future__ import annotations

from math import erf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError
from hetc.operators.activations import CLAMPED_SWISH
from hetc.runtimes.reference.crossbar import Crossbar, analog_matmul
from hetc.runtimes.reference.layout import Mask
from hetc.runtimes.reference.noise import Float32

__all__ = ["activate", "analog_expert", "expert"]


def activate(h: Float32, activation: str) -> Float32:
    """Apply ``silu``, ``gelu`` (erf), ``gelu_tanh``, ``relu`` or ``relu2`` (squared ReLU) to every element.

    Raises:
        InvalidInputError: for any other name.
    """
    z = h.astype(np.float64)
    y: NDArray[np.float64]
    if activation == "silu":
        with np.errstate(over="ignore"):
            y = z / (1 + np.exp(-z))
    elif activation == "gelu":
        y = z * 0.5 * (1 + np.vectorize(erf, otypes=[np.float64])(z / np.sqrt(2)))
    elif activation == "gelu_tanh":
        y = z * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
    elif activation == "relu":
        y = np.maximum(z, 0)
    elif activation == "relu2":
        y = np.maximum(z, 0) ** 2
    else:
        raise InvalidInputError(
            f"activation is {activation!r}; known are silu, gelu, gelu_tanh, relu and relu2, "
            "and clamped_swish for experts with a gate"
        )
    return y.astype(np.float32)


def analog_expert(
    x: NDArray[Any],
    gate: NDArray[Any] | None,
    up: NDArray[Any],
    down: NDArray[Any],
    crossbar: Crossbar,
    streams: tuple[int, int, int],
    activation: str,
    *,
    transpose_weight: bool,
    gate_bias: NDArray[Any] | None = None,
    up_bias: NDArray[Any] | None = None,
    down_bias: NDArray[Any] | None = None,
    in_range: Float32 | None = None,
    mid_range: Float32 | None = None,
    gate_adc_bound: Float32 | None = None,
    up_adc_bound: Float32 | None = None,
    down_adc_bound: Float32 | None = None,
    gate_weight_scale: Float32 | None = None,
    up_weight_scale: Float32 | None = None,
    down_weight_scale: Float32 | None = None,
    digital_neurons: Mask | None = None,
    activation_alpha: float = 1.0,
    activation_beta: float = 0.0,
    activation_limit: float = np.inf,
) -> NDArray[Any]:
    """Operator `AnalogExpert`, and `Expert` in mode ``exact``, as `docs/operators.md` defines them.

    Args:
        x: ``[..., H]`` float32, float16 or bfloat16.
        gate, up: ``[I, H]`` if transpose_weight, else ``[H, I]``; an ungated expert has no gate.
        down: ``[H, I]`` if transpose_weight, else ``[I, H]``.
        crossbar: mode, geometry, converters, noise.
        streams: random streams of gate (-1 without one), up and down.
        activation: see `activate`; ``clamped_swish`` for experts with a gate.
        transpose_weight: orientation of the three weights.
        gate_bias, up_bias, down_bias: ``[I]``, ``[I]``, ``[H]``, added digitally.
        in_range, mid_range: input ranges of gate and up, and of down, per K-slice.
        gate_adc_bound, up_adc_bound, down_adc_bound: see `analog_matmul`.
        gate_weight_scale, up_weight_scale, down_weight_scale: see `analog_matmul`.
        digital_neurons: ``[I]``, digital outputs of gate and up and digital inputs of down; none if None.
        activation_alpha, activation_beta, activation_limit: of ``clamped_swish`` alone.

    Returns:
        ``[..., H]`` of x's type; everything between is float32.

    Raises:
        InvalidInputError: see `activate` and `analog_matmul`.
    """

    def project(
        inputs: Float32,
        weight: NDArray[Any],
        stream: int,
        bias: NDArray[Any] | None,
        input_range: Float32 | None,
        adc_bound: Float32 | None,
        weight_scale: Float32 | None,
    ) -> Float32:
        product: Float32 = analog_matmul(
            inputs,
            weight,
            crossbar,
            stream,
            transpose_weight=transpose_weight,
            input_range=input_range,
            adc_bound=adc_bound,
            weight_scale=weight_scale,
            dac_stream=streams[1] if weight is gate else stream,
            digital_inputs=digital_neurons if weight is down else None,
            digital_outputs=None if weight is down else digital_neurons,
        )
        return product if bias is None else product + bias.astype(np.float32)

    wide = x.astype(np.float32)
    h = project(wide, up, streams[1], up_bias, in_range, up_adc_bound, up_weight_scale)
    if gate is None:
        h = activate(h, activation)
    else:
        gated = project(wide, gate, streams[0], gate_bias, in_range, gate_adc_bound, gate_weight_scale)
        if activation == CLAMPED_SWISH:
            scaled = np.float32(activation_alpha) * np.minimum(gated, np.float32(activation_limit))
            bounded = np.clip(h, -np.float32(activation_limit), np.float32(activation_limit))
            h = (
                activate(scaled, "silu")
                / np.float32(activation_alpha)
                * (bounded + np.float32(activation_beta))
            )
        else:
            h = activate(gated, activation) * h
    y = project(h, down, streams[2], down_bias, mid_range, down_adc_bound, down_weight_scale)
    return y.astype(x.dtype)


def expert(
    x: NDArray[Any],
    gate: NDArray[Any] | None,
    up: NDArray[Any],
    down: NDArray[Any],
    activation: str,
    *,
    transpose_weight: bool,
    gate_bias: NDArray[Any] | None = None,
    up_bias: NDArray[Any] | None = None,
    down_bias: NDArray[Any] | None = None,
    activation_alpha: float = 1.0,
    activation_beta: float = 0.0,
    activation_limit: float = np.inf,
) -> NDArray[Any]:
    """Operators `Expert` and `Expert16`; arguments as for `analog_expert`."""
    return analog_expert(
        x,
        gate,
        up,
        down,
        Crossbar("exact"),
        (0, 0, 0),
        activation,
        transpose_weight=transpose_weight,
        gate_bias=gate_bias,
        up_bias=up_bias,
        down_bias=down_bias,
        activation_alpha=activation_alpha,
        activation_beta=activation_beta,
        activation_limit=activation_limit,
    )
