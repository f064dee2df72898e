"""A live model foretells tokens alike, however many at a time, and from a shared beginning."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from families import VOCABULARY, save_random_model  # noqa: E402
from model_types import tiny_config  # noqa: E402

from hetc.base.errors import RuntimeMissingError  # noqa: E402
from hetc.evaluation.score_texts import Text, score_texts  # noqa: E402
from hetc.huggingface.live.forward import ModelPredict, model_predict  # noqa: E402
from hetc.model.batch_limit import BatchLimit  # noqa: E402

RANDOM = np.random.default_rng(0)


class SmallMemory:
    """A model that holds so many tokens."""

    device = torch.device("cpu")

    def __init__(self, most: int) -> None:
        self.most = most
        self.runs: list[int] = []

    def __call__(self, ids: Any, **_: Any) -> SimpleNamespace:
        self.runs.append(len(ids))
        if ids.numel() > self.most:
            raise torch.OutOfMemoryError("more than there is")
        return SimpleNamespace(logits=2 * torch.nn.functional.one_hot((ids + 1) % 5, 5).float())


@pytest.mark.parametrize("limit", [BatchLimit.of("auto"), BatchLimit.of(16)])
def test_batches_are_halved_until_they_fit(limit: BatchLimit) -> None:
    windows = RANDOM.integers(0, 5, (16, 10))
    model: Any = SmallMemory(50)
    predict = ModelPredict(model, limit)
    losses, hits = predict(windows)
    expected, likeliest = ModelPredict(SmallMemory(10), BatchLimit.of(1))(windows)
    np.testing.assert_array_equal(losses, expected)
    np.testing.assert_array_equal(hits, likeliest)
    assert model.runs == [16, 8, 4, 4, 4, 4]
    predict(windows[:8])
    assert model.runs[6:] == [4, 4], "what fits is kept in mind"
    with pytest.raises(RuntimeMissingError, match="a single text of 60 tokens"):
        predict(RANDOM.integers(0, 5, (2, 60)))


@pytest.mark.parametrize(
    ("model_type", "sharing"),
    [
        ("deepseek_v3", True),
        ("gpt_oss", True),  # sliding windows
        ("lfm2_moe", True),  # convolutions
        ("qwen3_next", True),  # linear attention
        ("jamba", False),  # forgets its state
        ("bailing_hybrid", True),  # linear attention of another kind
    ],
)
def test_choices_after_a_shared_context(model_type: str, sharing: bool, tmp_path: Path) -> None:
    model = save_random_model(tiny_config(model_type), tmp_path)
    texts = []
    for length in (24, 22):
        context = RANDOM.integers(3, VOCABULARY, length).tolist()
        texts += [
            Text(context + RANDOM.integers(3, VOCABULARY, count).tolist(), count) for count in (3, 1, 4, 2)
        ]
    alone = score_texts(model_predict(model, 1), texts, padding=0)
    lengths: list[int] = []
    model.register_forward_pre_hook(
        lambda module, args, options: lengths.append(args[0].shape[1]), with_kwargs=True
    )
    together = score_texts(ModelPredict(model, BatchLimit.of("auto", 300)), texts, padding=0)
    np.testing.assert_allclose([score for score, _ in together], [score for score, _ in alone], atol=1e-3)
    assert [greedy for _, greedy in together] == [greedy for _, greedy in alone]
    assert (lengths[-1] < 10) == sharing
