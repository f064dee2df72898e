"""Which tokens begin and end a text, by the files beside a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hetc.base.errors import InvalidInputError
from hetc.model.generation_config import context_length, end_tokens, first_token


def write(folder: Path, config: Any = None, generation: Any = None) -> Path:
    for name, content in (("config.json", config), ("generation_config.json", generation)):
        if content is not None:
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("config", "generation", "ends"),
    [
        (None, None, set()),
        ({"eos_token_id": 2}, None, {2}),
        ({"eos_token_id": [2, 3]}, None, {2, 3}),
        ({"text_config": {"eos_token_id": 4}}, None, {4}),
        ({"eos_token_id": 2}, {"eos_token_id": [5, 6]}, {5, 6}),
        ({"eos_token_id": None}, {"eos_token_id": 7}, {7}),
    ],
)
def test_what_ends_a_text(config: Any, generation: Any, ends: set[int], tmp_path: Path) -> None:
    assert end_tokens(write(tmp_path, config, generation)) == ends


@pytest.mark.parametrize(
    ("config", "generation", "first"),
    [
        ({"bos_token_id": 1, "eos_token_id": 2}, None, 1),
        ({"eos_token_id": [2, 3]}, None, 2),
        ({"text_config": {"bos_token_id": 4}, "bos_token_id": 1}, None, 4),
        ({}, {"bos_token_id": 8}, 8),
    ],
)
def test_what_begins_a_text(config: Any, generation: Any, first: int, tmp_path: Path) -> None:
    assert first_token(write(tmp_path, config, generation)) == first


def test_nothing_begins_a_text(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="neither bos_token_id nor eos_token_id"):
        first_token(write(tmp_path, {}))


@pytest.mark.parametrize(
    "config", ["{", "[]", "[" * 100_000, '{"eos_token_id": "x"}', '{"eos_token_id": [true]}', b"\xff\xfe"]
)
def test_damaged_configurations_are_refused(config: str | bytes, tmp_path: Path) -> None:
    data = config if isinstance(config, bytes) else config.encode()
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(InvalidInputError, match=r"config\.json"):
        end_tokens(tmp_path)


def test_context_length(tmp_path: Path) -> None:
    assert context_length(tmp_path) is None
    assert context_length(write(tmp_path, {"text_config": {"max_position_embeddings": 64}})) == 64
    with pytest.raises(InvalidInputError, match="max_position_embeddings is 'x'"):
        context_length(write(tmp_path, {"max_position_embeddings": "x"}))
