"""What numbers the weights of units are stored as, and what digital ones compute in, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from hetc.plan.words import Kind

__all__ = ["Arithmetic"]


@dataclass(frozen=True)
class Arithmetic:
    """Units of one kind whose weights are alike.

    Attributes:
        kind: What they are.
        units: How many there are, analog or digital.
        stored: What their weights are in the source: `bfloat16`, or `uint4, 32 to a scale`.
        values: The type of an analog unit's weights: that of what is stored, or of its scales.
        computed: What the digital ones compute in: `float32`, or the operator that multiplies packed weights.
        activation_bits: To how many bits the source rounds what it multiplies them by; 0 for none. An analog
            unit doesn't, and neither does its exact mode.
    """

    kind: Kind
    units: int
    stored: str
    values: str
    computed: str
    activation_bits: int = 0

    def __str__(self) -> str:
        """For people."""
        rounded = f", activations of {self.activation_bits} bits" if self.activation_bits else ""
        return f"{self.stored} computed in {self.computed}{rounded}"
