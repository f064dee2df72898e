"""One expert of an MoE layer, digital and on analog crossbars."""

from __future__ import annotations

from math import erf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError
from hetc.operators.activations import CLAMPED_SWISH, NEEDS_GATE, SOFTCAPPED_SWISH
from hetc.runtimes.reference.crossbar import Crossbar, analog_matmul
from hetc.runtimes.reference.layout import Mask
from hetc.runtimes.reference.noise import Float32

__all__ = ["activate", "analog_expert", "expert", "hidden"]


def activate(h: Float32, activation: str, activation_alpha: float = 1.0) -> Float32:
    """Apply an activation of one operand to every element, as `docs/operators.md` defines it.

    Args:
        h: any shape.
        activation: ``silu``, ``gelu`` (erf), ``gelu_tanh``, ``relu``, ``relu2`` (squared ReLU),
            ``leaky_relu``, ``elu``, ``relu6``, ``tanh``, ``sigmoid``, ``softplus`` or ``hard_swish``.
        activation_alpha: of ``leaky_relu`` and ``elu`` alone.

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
    elif activation == "leaky_relu":
        y = np.where(z < 0, np.float32(activation_alpha) * z, z)
    elif activation == "elu":
        y = np.where(z < 0, np.float32(activation_alpha) * np.expm1(np.minimum(z, 0)), z)
    elif activation == "relu6":
        y = np.clip(z, 0, 6)
    elif activation == "tanh":
        y = np.tanh(z)
    elif activation == "sigmoid":
        y = (1 + np.tanh(z / 2)) / 2
    elif activation == "softplus":
        y = np.logaddexp(0, z)
    elif activation == "hard_swish":
        y = z * np.clip(z / 6 + 0.5, 0, 1)
    else:
        raise InvalidInputError(
            f"activation is {activation!r}; known are silu, gelu, gelu_tanh, relu, relu2, leaky_relu, elu, "
            "relu6, tanh, sigmoid, softplus and hard_swish, and for experts with a gate "
            f"{' and '.join(NEEDS_GATE)}"
        )
    return y.astype(np.float32)


def hidden(gate: Float32 | None, up: Float32, activation: str, **attributes: float) -> Float32:
    """What stands between the products of an expert, of the products of gate and up with their biases.

    Args:
        gate: None for an expert without one.
        up: of gate's shape.
        activation: see `activate`; with a gate also ``clamped_swish`` and ``softcapped_swish``.
        attributes: the activation's own, by name.

    Raises:
        InvalidInputError: see `activate`.
    """
    if gate is None:
        return activate(up, activation, **attributes)
    number = {name.removeprefix("activation_"): np.float32(value) for name, value in attributes.items()}
    h: Float32
    if activation == CLAMPED_SWISH:
        alpha, beta, limit = (number[name] for name in ("alpha", "beta", "limit"))
        swish = activate(alpha * np.minimum(gate, limit), "silu") / alpha
        h = swish * (np.clip(up, -limit, limit) + beta)
    elif activation == SOFTCAPPED_SWISH:
        capped = number["gate_cap"] * activate(gate / number["gate_cap"], "tanh")
        h = capped * activate(gate, "sigmoid") * (number["up_cap"] * activate(up / number["up_cap"], "tanh"))
    else:
        h = activate(gate, activation, **attributes) * up
    return h


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
    **attributes: float,
) -> NDArray[Any]:
    """Operator `AnalogExpert`, and `Expert` in mode ``exact``, as `docs/operators.md` defines them.

    Args:
        x: ``[..., H]`` float32, float16 or bfloat16.
        gate, up: ``[I, H]`` if transpose_weight, else ``[H, I]``; an ungated expert has no gate.
        down: ``[H, I]`` if transpose_weight, else ``[I, H]``.
        crossbar: mode, geometry, converters, noise.
        streams: random streams of gate (-1 without one), up and down.
        activation: see `hidden`.
        transpose_weight: orientation of the three weights.
        gate_bias, up_bias, down_bias: ``[I]``, ``[I]``, ``[H]``, added digitally.
        in_range, mid_range: input ranges of gate and up, and of down, per K-slice.
        gate_adc_bound, up_adc_bound, down_adc_bound: see `analog_matmul`.
        gate_weight_scale, up_weight_scale, down_weight_scale: see `analog_matmul`.
        digital_neurons: ``[I]``, digital outputs of gate and up and digital inputs of down; none if None.
        attributes: the activation's own, by name.

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
    gated = None
    if gate is not None:
        gated = project(wide, gate, streams[0], gate_bias, in_range, gate_adc_bound, gate_weight_scale)
    h = project(wide, up, streams[1], up_bias, in_range, up_adc_bound, up_weight_scale)
    h = hidden(gated, h, activation, **attributes)
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
    **attributes: float,
) -> NDArray[Any]:
    """Operators `Expert` and `Expert16`; arguments as for `analog_expert`."""
    own: Any = attributes  # keyword arguments of other types are none of them
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
        **own,
    )
