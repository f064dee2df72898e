"""genai_config.json for checkpoints that lack special tokens or have several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from families import olmoe

from hetc.huggingface.cache import CachedTensor
from hetc.huggingface.export.generation import genai_config


def cache(*layers: dict[str, tuple[int | None, ...]]) -> list[CachedTensor]:
    return [
        CachedTensor(index, part, shape)
        for index, parts in enumerate(layers)
        for part, shape in parts.items()
    ]


PLAIN: dict[str, tuple[int | None, ...]] = {"key": (2, None, 8), "value": (2, None, 8)}


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
    written = genai_config(olmoe(**changes), cache(PLAIN, PLAIN), Path("model.onnx"))
    assert written is not None
    model = written["model"]
    assert {name: token for name, token in model.items() if name.endswith("_token_id")} == expected


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([PLAIN, {**PLAIN, "value": (2, None, 4)}], "1.value 2 of width 4"),
        ([PLAIN, {"conv.0": (8, 3), "recurrent.0": (2, 8, 8)}], "layer 1 carries conv.0, recurrent.0"),
        ([PLAIN, {}], "1 of 2 layers keep keys and values"),
    ],
)
def test_cache_that_genai_cannot_carry(
    layers: list[Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert genai_config(olmoe(), cache(*layers), Path("model.onnx")) is None
    assert reason in caplog.text
