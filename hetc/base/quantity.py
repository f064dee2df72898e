"""Quantities for people: numbers with an SI prefix and a unit, written with three digits."""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation

from hetc.base.errors import UsageError

__all__ = ["parse_quantity", "parse_share", "quantity"]

PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def quantity(value: float, unit: str) -> str:
    """`quantity(2.37e-8, "J")` is `23.7 nJ`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    power = 3 * math.floor(math.log10(float(f"{abs(value):.2e}")) / 3)
    power = min(max(power, min(PREFIXES)), max(PREFIXES))
    return f"{value / 10.0**power:.3g} {PREFIXES[power]}{unit}"


def parse_quantity(text: str, unit: str) -> float:
    """The inverse: `parse_quantity("2.0mJ", "J")` is 0.002. `u` stands for µ, and `B` for billions.

    Raises:
        UsageError: No number of that unit.
    """
    powers = {symbol: power for power, symbol in PREFIXES.items()} | {"u": -6, "B": 9}
    match = re.fullmatch(rf"(\d+\.?\d*|\.\d+)\s*([{''.join(powers)}]?){unit}", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a quantity such as {f'2.5m{unit}' if unit else '350M'}")
    return float(f"{match[1]}e{powers[match[2]]}")


def parse_share(text: str) -> float:
    """A share as a number or in percent: `parse_share("12.5%")` and `parse_share("0.125")` are 0.125.

    Raises:
        UsageError: Neither; other numbers than 0..1 are left to the caller.
    """
    number, percent, rest = text.strip().partition("%")
    try:
        if not rest:
            return float(Decimal(number.strip()) / (100 if percent else 1))
    except InvalidOperation:
        pass
    raise UsageError(f"{text!r} is not a share such as 0.125 or 12.5%")
