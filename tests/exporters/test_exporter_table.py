"""Models of real exporters compile and equal their source in exact mode, or are refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cases import CASES, Builder, Case, expected_refusal  # noqa: E402
from outcomes import check, expected_experts  # noqa: E402
from packages import add_packages  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    add_packages()
    torch.set_num_threads(1)
    return Builder(tmp_path_factory.mktemp("exporters"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_compiles_and_is_equal_or_is_refused(case: Case, builder: Builder, tmp_path: Path) -> None:
    if case.missing:
        pytest.skip(case.missing)
    outcome = check(builder.build(case), tmp_path, expected_experts(case.family))
    assert outcome.status != "wrong", outcome.reason
    words = expected_refusal(case)
    if words is None:
        assert outcome.status == "equal", outcome.reason
    else:
        assert outcome.status == "refused", "compiles now: take it out of REFUSALS"
        assert words in outcome.reason


def test_the_table_is_large_enough() -> None:
    assert len(CASES) >= 120
    assert sum(expected_refusal(case) is None for case in CASES) >= 0.9 * len(CASES)
