"""Stand-ins take the place of the code that they are known to equal, and of no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from families import save_random_model  # noqa: E402
from model_types import tiny_config  # noqa: E402
from transformers.models.qwen3_next import modeling_qwen3_next  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402
from hetc.huggingface.export.skeleton import build_skeleton  # noqa: E402
from hetc.huggingface.export.stand_ins import GATED_DELTA_RULE, has_known_delta_rule, stand_ins  # noqa: E402


def another_delta_rule(query: Any, key: Any, value: Any, **options: Any) -> Any:
    return value, options["initial_state"]


def test_delta_rule_is_replaced_for_a_while() -> None:
    original = getattr(modeling_qwen3_next, GATED_DELTA_RULE)
    assert has_known_delta_rule(modeling_qwen3_next)
    with stand_ins():
        assert getattr(modeling_qwen3_next, GATED_DELTA_RULE) is not original
    assert getattr(modeling_qwen3_next, GATED_DELTA_RULE) is original


def test_another_delta_rule_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_random_model(tiny_config("qwen3_next"), tmp_path)
    monkeypatch.setattr(modeling_qwen3_next, GATED_DELTA_RULE, another_delta_rule)
    with stand_ins():
        assert getattr(modeling_qwen3_next, GATED_DELTA_RULE) is another_delta_rule
    with pytest.raises(InvalidInputError, match="qwen3_next: its linear attention traces for one chunk"):
        build_skeleton(tmp_path)
