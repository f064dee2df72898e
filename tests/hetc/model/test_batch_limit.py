"""How much is run at a time."""

from __future__ import annotations

from typing import Any

import pytest

from hetc.base.errors import RuntimeMissingError, UsageError
from hetc.model.batch_limit import BatchLimit


def test_rows() -> None:
    assert BatchLimit.of(8).rows(10_000) == 8
    assert [BatchLimit.of("auto", 100).rows(length) for length in (0, 1, 30, 100, 101)] == [100, 100, 3, 1, 1]


def test_what_took_too_much_is_halved() -> None:
    limit = BatchLimit.of(8)
    limit.halve(8, 100)
    assert (limit.rows(100), limit.rows(200), limit.rows(10)) == (4, 2, 8)
    with pytest.raises(RuntimeMissingError, match="a single text of 400 tokens"):
        limit.halve(1, 400)


@pytest.mark.parametrize("batch", [0, -1, "many", 1.5])
def test_what_is_refused(batch: Any) -> None:
    with pytest.raises(UsageError, match="1 or more, or 'auto'"):
        BatchLimit.of(batch)
