"""The closed sets of words that the operators' attributes and session entries take (docs/operators.md)."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["MODES", "STORES", "Mode", "Store"]

Mode = Literal["exact", "converters", "noisy"]
"""What an analog operator computes: plain products, DAC and ADC with clean weights, or both with noise."""
MODES: tuple[Mode, ...] = get_args(Mode)

Store = Literal["bfloat16", "float32", "int8"]
"""What programmed weights are kept as."""
STORES: tuple[Store, ...] = get_args(Store)
