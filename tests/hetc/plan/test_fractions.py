"""Digital fractions survive every way that hetc sends them: text, JSON, copies, kernels' counts."""

from __future__ import annotations

import copy
import pickle
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hetc.base.errors import UsageError
from hetc.plan.fractions import DigitalFraction

KEPT_OF = st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(KEPT_OF)
def test_k_of_n_stays_k_of_n(kept_of: tuple[int, int]) -> None:
    kept, size = kept_of
    fraction = DigitalFraction(Fraction(kept, size))
    assert fraction.count(size) == kept
    again = DigitalFraction(str(fraction))
    assert again == fraction and again.count(size) == kept
    assert pickle.loads(pickle.dumps(fraction)) == copy.deepcopy(fraction) == fraction


@given(st.decimals(0, 1, places=4), st.integers(0, 300))
def test_counts_round_halves_up(fraction: Decimal, size: int) -> None:
    assert DigitalFraction(fraction).count(size) == int((fraction * size).to_integral_value(ROUND_HALF_UP))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1/3", "1/3"),
        ("2/8", "0.25"),
        ("0.250", "0.25"),
        (1, "1"),
        (0, "0"),
        ("1e-18", "0.000000000000000001"),
        ("12.5%", "0.125"),
        (" 25 % ", "0.25"),
        ("100%", "1"),
    ],
)
def test_text_is_a_decimal_where_that_is_exact(value: str | int, text: str) -> None:
    assert str(DigitalFraction(value)) == text


@pytest.mark.parametrize(
    "value", ["4/3", "1/0", "-1/3", "1/-3", "1/3/4", "1 /", "0.1e", "1e-30", "1e-999999999"]
)
def test_what_no_kernel_reads_is_refused(value: str) -> None:
    with pytest.raises(UsageError):
        DigitalFraction(value)


def test_compares_and_computes_as_a_number() -> None:
    half = DigitalFraction("1/2")
    assert half == 0.5 and half != 1.5 and half < 0.7 and half > 0.2 and half == Fraction(1, 2)
    assert max(half, DigitalFraction(1)) == 1 and half * 3 == 1.5 and float(half) == 0.5
    assert f"{half}" == "0.5" and f"{half:.2%}" == "50.00%"
