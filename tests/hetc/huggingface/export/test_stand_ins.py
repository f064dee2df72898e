"""Stand-ins take the place of the code that they are known to equal, and of no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from families import save_random_model  # noqa: E402
from model_types import tiny_config  # noqa: E402
from transformers.models.bailing_hybrid import modeling_bailing_hybrid  # noqa: E402
from transformers.models.nemotron_h import modeling_nemotron_h  # noqa: E402
from transformers.models.qwen3_next import modeling_qwen3_next  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402
from hetc.huggingface.export.recurrences import delta_rule, state_space  # noqa: E402
from hetc.huggingface.export.skeleton import build_skeleton  # noqa: E402
from hetc.huggingface.export.stand_ins import stand_ins, unknown_loop  # noqa: E402


def another_delta_rule(query: Any, key: Any, value: Any, **options: Any) -> Any:
    return value, options["initial_state"]


@pytest.mark.parametrize(
    ("module", "name", "stand_in"),
    [
        (modeling_qwen3_next, "torch_chunk_gated_delta_rule", delta_rule),
        (modeling_bailing_hybrid, "chunk_kimi_delta_attention", delta_rule),
        (modeling_nemotron_h, "mamba2_chunk_scan", state_space),
    ],
    ids=["qwen3_next", "bailing_hybrid", "nemotron_h"],
)
def test_loop_is_replaced_for_a_while(module: Any, name: str, stand_in: Any) -> None:
    original = getattr(module, name)
    assert unknown_loop(module) is None
    with stand_ins():
        assert getattr(module, name) is stand_in
    assert getattr(module, name) is original


def test_another_delta_rule_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_random_model(tiny_config("qwen3_next"), tmp_path)
    monkeypatch.setattr(modeling_qwen3_next, "torch_chunk_gated_delta_rule", another_delta_rule)
    with stand_ins():
        assert modeling_qwen3_next.torch_chunk_gated_delta_rule is another_delta_rule
    with pytest.raises(InvalidInputError, match=r"qwen3_next: .* another torch_chunk_gated_delta_rule than"):
        build_skeleton(tmp_path)
