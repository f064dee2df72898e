"""genai_config.json for checkpoints that lack special tokens or have several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from families import olmoe

from hetc.huggingface.generation import genai_config


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}),
        ({"bos_token_id": None, "pad_token_id": None}, {"eos_token_id": 2, "pad_token_id": 2}),
        (
            {"eos_token_id": [2, 7], "pad_token_id": None},
            {"bos_token_id": 1, "eos_token_id": [2, 7], "pad_token_id": 2},
        ),
        ({"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}, {}),
    ],
)
def test_special_tokens(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    """genai takes neither null nor a list for padding; a token that is left out gets its default."""
    written = genai_config(olmoe(**changes), [((2, 8), (2, 8))], Path("model.onnx"))
    assert written is not None
    model = written["model"]
    assert {name: token for name, token in model.items() if name.endswith("_token_id")} == expected
