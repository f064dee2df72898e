"""Rotary embeddings whose frequencies depend on the length, below and beyond the original one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from families import VOCABULARY, save_random_model  # noqa: E402
from model_types import tiny_config  # noqa: E402
from test_export import TOLERANCE, reference, run  # noqa: E402

from hetc.huggingface.export.export import export  # noqa: E402
from hetc.huggingface.export.rotary import prepare_rotary  # noqa: E402

ORIGINAL = 16
"""Length that the frequencies were trained for."""

DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}


def longrope(width: int) -> dict[str, Any]:
    return {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "original_max_position_embeddings": ORIGINAL,
        "factor": 4.0,
        "short_factor": np.linspace(1, 2, width // 2).tolist(),
        "long_factor": np.linspace(3, 6, width // 2).tolist(),
    }


CONFIGURATIONS = {
    "phimoe": lambda: tiny_config(
        "phimoe", num_hidden_layers=1, rope_parameters=longrope(8) | {"short_mscale": 1.1, "long_mscale": 1.3}
    ),
    "longrope": lambda: tiny_config("olmoe", num_hidden_layers=1, rope_parameters=longrope(8)),
    "dynamic": lambda: tiny_config(
        "olmoe", num_hidden_layers=1, rope_parameters=DYNAMIC, max_position_embeddings=ORIGINAL
    ),
    # Each type of layer has its own frequencies.
    "laguna": lambda: tiny_config(
        "laguna",
        num_hidden_layers=2,
        max_position_embeddings=ORIGINAL,
        layer_types=["full_attention", "sliding_attention"],
        rope_parameters={
            "full_attention": longrope(4) | {"partial_rotary_factor": 0.5},
            "sliding_attention": DYNAMIC,
        },
    ),
}


def prompt(tokens: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ids = np.random.default_rng(tokens).integers(0, VOCABULARY, (1, tokens))
    return ids, np.ones_like(ids), np.arange(tokens)[None]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_prepared_model_equals_the_original(name: str, tmp_path: Path) -> None:
    model = save_random_model(CONFIGURATIONS[name](), tmp_path)
    prepared = copy.deepcopy(model)
    prepare_rotary(prepared)
    for tokens in (ORIGINAL, ORIGINAL + 1, 3 * ORIGINAL, 3):  # back again: no call leaves something behind
        difference = reference(prepared, *prompt(tokens)) - reference(model, *prompt(tokens))
        assert np.abs(difference).max() <= 1e-5, tokens


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_export_chooses_by_length(name: str, tmp_path: Path) -> None:
    model = save_random_model(CONFIGURATIONS[name](), tmp_path / "checkpoint")
    path = export(tmp_path / "checkpoint", tmp_path / "exported")
    # A step beyond the original length leaves the cached keys as they are. This comes first: transformers
    # goes back to the original frequencies only below that length.
    ids, mask, positions = prompt(ORIGINAL + 1)
    with torch.no_grad():
        first, second = (torch.from_numpy(part) for part in (ids[:, :ORIGINAL], ids[:, ORIGINAL:]))
        cache = model(first, use_cache=True).cache
        expected = model(second, cache=cache).logits.numpy()
    actual = run(path, ids, [ORIGINAL, 1], mask, positions)[:, ORIGINAL:]
    assert np.abs(actual - expected).max() <= TOLERANCE
    for tokens in (ORIGINAL - 1, ORIGINAL + 1, 3 * ORIGINAL):
        ids, mask, positions = prompt(tokens)
        expected = reference(model, ids, mask, positions)
        assert np.abs(run(path, ids, [tokens], mask, positions) - expected).max() <= TOLERANCE, tokens
