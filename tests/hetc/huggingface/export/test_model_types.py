"""Every model type behind transformers' experts interface: equal to transformers, or refused for a reason."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from families import VOCABULARY, save_random_model  # noqa: E402
from model_types import RECURRENT, REFUSED, causal_model_types, tiny_config  # noqa: E402
from test_export import TOLERANCE, assert_same_logits, reference, run  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402
from hetc.huggingface.export.export import export  # noqa: E402

LONG = 70
"""More tokens than one chunk of any linear attention or state space has."""
LENGTHS = (1, LONG, 300)
"""Tokens of the prompts for families whose loops a graph has in another form."""


def check_model_type(model_type: str, folder: Path) -> str:
    """Export a tiny model and compare it, padded, cached and on a long prompt; the reason if refused."""
    model = save_random_model(tiny_config(model_type), folder / "checkpoint")
    try:
        path = export(folder / "checkpoint", folder / "exported")
    except InvalidInputError as error:
        return str(error).replace(f"{folder / 'checkpoint'}: ", "")
    assert_same_logits(path, model)
    for tokens in LENGTHS if model_type in RECURRENT else [LONG]:
        ids = np.random.default_rng(1).integers(0, VOCABULARY, (1, tokens))
        mask, positions = np.ones_like(ids), np.arange(tokens)[None]
        expected = reference(model, ids, mask, positions)
        for chunks in ([tokens], [tokens - 4, 1, 3])[: min(tokens, 2)]:
            assert np.abs(run(path, ids, chunks, mask, positions) - expected).max() <= TOLERANCE, chunks
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("model_type", sorted(causal_model_types()))
def test_model_type(model_type: str, tmp_path: Path) -> None:
    reason = check_model_type(model_type, tmp_path)
    expected = REFUSED.get(model_type)
    assert reason == "" if expected is None else re.search(expected, reason), reason
