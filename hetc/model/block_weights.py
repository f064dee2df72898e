"""Weights of ONNX Runtime's MatMulNBits: rows of codes in blocks, each with a scale and a zero point."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.quantised_tensor import QuantisedForm, constant_values, dequantise

__all__ = ["PACKED_BITS", "block_form", "block_numbers", "fits_blocks", "unpack"]

PACKED_BITS = (2, 4, 8)
"""Bits of codes that can be read."""
INT8_ACTIVATIONS = 4
"""The `accuracy_level` at which activations are rounded to 8 bits, block by block."""


def block_form(
    codes: ir.Value,
    scales: ir.Value,
    zero_points: ir.Value | None,
    groups: ir.Value | None,
    attributes: Mapping[str, ir.Attr],
) -> QuantisedForm:
    """How MatMulNBits reads a weight.

    Args:
        codes: uint8 `[N, blocks, block_size * bits / 8]`, the lowest bits first.
        scales: `[N, blocks]`, or as many in a row.
        zero_points: uint8, each row packed as codes are, or of the type of scales; None for 2^(bits-1).
        groups: `[K]`, which block's scale an input has; None for its own block's.
        attributes: Those of the node: `K`, `N`, `block_size`, and perhaps `bits` and `accuracy_level`.
    """
    given = dict(attributes)
    given.setdefault("bits", ir.AttrInt64("bits", 4))
    size, bits = given["block_size"].as_int(), given["bits"].as_int()
    level = given["accuracy_level"].as_int() if "accuracy_level" in given else 0
    rounded = 8 if level == INT8_ACTIVATIONS else 0
    constants = (codes, scales, zero_points, groups)
    stored = f"uint{bits}, {size} to a scale"
    return QuantisedForm("com.microsoft", "MatMulNBits", constants, given, stored, rounded)


def fits_blocks(form: QuantisedForm) -> bool:
    """Whether codes and scales are as many as `K`, `N`, `bits` and `block_size` say."""
    codes, scales, *_ = form.constants
    inputs, outputs, bits, size = _sizes(form)
    blocks = outputs * -(-inputs // size)
    held = [
        0 if value is None or value.const_value is None else value.const_value.size
        for value in (codes, scales)
    ]
    return held == [blocks * size * bits // 8, blocks]


def block_numbers(form: QuantisedForm) -> NDArray[np.float32]:
    """The weight `[N, K]` that MatMulNBits multiplies by; read now."""
    codes, scales, zero_points, groups = form.constants
    inputs, outputs, bits, size = _sizes(form)
    assert codes is not None and scales is not None
    unpacked = unpack(constant_values(codes).reshape(outputs, -1), bits)[:, :inputs]
    scale = constant_values(scales).reshape(outputs, -1)
    zero = np.array([1 << (bits - 1)])
    if zero_points is not None:
        zero = constant_values(zero_points).reshape(outputs, -1)
        zero = unpack(zero, bits)[:, : scale.shape[1]] if zero.dtype == np.uint8 else zero
    if groups is not None:
        order, size = constant_values(groups), 1
        scale, zero = scale[:, order], zero if zero.size == 1 else zero[:, order]
    return dequantise(unpacked, scale, zero, 1, size)


def _sizes(form: QuantisedForm) -> tuple[int, int, int, int]:
    """Inputs, outputs, bits and block size."""
    inputs, outputs, bits, size = (
        form.attributes[name].as_int() for name in ("K", "N", "bits", "block_size")
    )
    return inputs, outputs, bits, size


def unpack(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes of 2, 4 or 8 bits out of bytes, along the last axis, the lowest bits first."""
    if bits == 8:
        return packed
    parts = [(packed >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(*packed.shape[:-1], -1)
