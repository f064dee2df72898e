"""Numbers as people write them."""

from __future__ import annotations

import pytest

from hetc.base.errors import UsageError
from hetc.base.quantity import parse_share, quantity
from hetc.plan.calibration import parse_range_rule


@pytest.mark.parametrize(
    ("text", "share"),
    [("0.125", 0.125), ("12.5%", 0.125), ("12.5 %", 0.125), ("99.995%", 0.99995), ("0", 0.0), ("95 %", 0.95)],
)
def test_a_share_is_a_number_or_in_percent(text: str, share: float) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["", "%", "a%", "5%%", "5% of all", "1/4"])
def test_other_text_is_no_share(text: str) -> None:
    with pytest.raises(UsageError, match="is not a share such as"):
        parse_share(text)


def test_a_quantile_is_a_share() -> None:
    assert parse_range_rule("quantile:99.995%") == parse_range_rule("quantile:0.99995")
    with pytest.raises(UsageError):
        parse_range_rule("quantile:101%")


def test_quantities() -> None:
    shown = [quantity(value, "J") for value in (0, 2.37e-8, 0.0123, 999.9, 4.2e15, 1e-16)]
    assert shown == ["0 J", "23.7 nJ", "12.3 mJ", "1 kJ", "4.2e+03 TJ", "0.0001 pJ"]
