"""Quantities for people: three digits and an SI prefix."""

from __future__ import annotations

import math

__all__ = ["quantity"]

PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def quantity(value: float, unit: str) -> str:
    """`quantity(2.37e-8, "J")` is `23.7 nJ`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    power = 3 * math.floor(math.log10(float(f"{abs(value):.2e}")) / 3)
    power = min(max(power, min(PREFIXES)), max(PREFIXES))
    return f"{value / 10.0**power:.3g} {PREFIXES[power]}{unit}"
