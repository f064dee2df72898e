"""Digital fractions: exact from the command line to the kernel, so that k of n experts are k for every n."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Union

from hetc.base.errors import UsageError

__all__ = ["DigitalFraction", "FractionLike"]

FractionLike = Union[str, int, float, Decimal, Fraction]
"""What users write a digital fraction as; a float counts as the decimal that Python prints."""

LARGEST_DENOMINATOR = 10**18
"""What the kernels can read; a decimal has at most 18 digits."""


class DigitalFraction(Fraction):
    """The fraction of a group's experts that is digital: an exact number between 0 and 1.

    Its text, which plans and session entries hold, is a decimal where that is exact, else `k/n`:

        >>> print(DigitalFraction(0.25), DigitalFraction("1/3"))
        0.25 1/3
        >>> DigitalFraction("1/3").count(6)
        2

    Args:
        value: A number, or text such as `0.25`, `25%` or `1/3`.

    Raises:
        UsageError: Not a number in 0..1, or one that no kernel can read.
    """

    __slots__ = ()

    def __new__(cls, value: FractionLike) -> DigitalFraction:
        exact = _exact(value)
        if exact is None or not 0 <= exact <= 1:
            raise UsageError(
                f"digital fraction {value!s} is not a number between 0 and 1, such as 0.25, 25% or 1/4"
            )
        if exact.denominator > LARGEST_DENOMINATOR:
            raise UsageError(f"digital fraction {value!s} has more than 18 decimals; give fewer, or k/n")
        return super().__new__(cls, exact)

    @classmethod
    def from_float(cls, f: Any) -> Any:
        """Of any float, as a plain Fraction: comparisons with floats call it."""
        return Fraction.from_float(f)

    def count(self, group_size: int) -> int:
        """How many experts of a group are digital: floor(fraction * group_size + 1/2)."""
        return math.floor(self * group_size + Fraction(1, 2))

    def __str__(self) -> str:
        scaled = self * LARGEST_DENOMINATOR
        if scaled.denominator > 1:
            return f"{self.numerator}/{self.denominator}"
        return format(Decimal(int(scaled)) / LARGEST_DENOMINATOR, "f")

    def __repr__(self) -> str:
        return f"DigitalFraction({str(self)!r})"

    def __format__(self, format_spec: str) -> str:
        return format(float(self), format_spec) if format_spec else str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return DigitalFraction, (str(self),)

    def __copy__(self) -> DigitalFraction:
        return self

    def __deepcopy__(self, memo: Any) -> DigitalFraction:
        return self


def _exact(value: FractionLike) -> Fraction | None:
    """The number as written; None for what is none."""
    if isinstance(value, Fraction):
        return Fraction(value)
    numerator, slash, denominator = str(value).strip().partition("/")
    if slash:
        whole = numerator.isdecimal() and denominator.isdecimal() and int(denominator) > 0
        return Fraction(int(numerator), int(denominator)) if whole else None
    number, percent, rest = numerator.partition("%")
    try:
        decimal = Decimal(number.strip())
    except InvalidOperation:
        return None
    # Compared before it is expanded: 1e-999999999 has too many digits to hold.
    tiny = decimal.is_finite() and decimal != 0 and decimal.adjusted() < -18
    largest = 100 if percent else 1
    if rest or tiny or not decimal.is_finite() or abs(decimal) > largest:
        return None
    return Fraction(decimal) / largest
