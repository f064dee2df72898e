"""DeepSeek-V4's compressors in the form that traces, against transformers'."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from families import VOCABULARY, save_random_model  # noqa: E402
from model_types import tiny_config  # noqa: E402

from hetc.huggingface.cache import empty_cache, find_cache  # noqa: E402
from hetc.huggingface.experts import choose_experts_function  # noqa: E402
from hetc.huggingface.export.compressed_attention import prepare_compressors  # noqa: E402
from hetc.huggingface.export.placeholder import SHAPES_ONLY  # noqa: E402
from hetc.huggingface.export.skeleton import build_skeleton  # noqa: E402


@pytest.mark.parametrize("chunks", [[1], [4], [75], [3, 1, 1, 40, 5, 25]])
def test_prepared_model_equals_the_original(chunks: list[int], tmp_path: Path) -> None:
    model = save_random_model(tiny_config("deepseek_v4"), tmp_path)
    model.set_attn_implementation("eager")
    prepared = copy.deepcopy(model)
    prepare_compressors(prepared)
    tokens = sum(chunks)
    ids = torch.randint(VOCABULARY, (1, tokens), generator=torch.Generator().manual_seed(0))
    positions = torch.arange(tokens)[None]
    cache = empty_cache(model.config)
    with torch.no_grad():
        expected = model(ids, position_ids=positions).logits
        logits = [
            prepared(part, position_ids=where, cache=cache, use_cache=True).logits
            for part, where in zip(ids.split(chunks, dim=1), positions.split(chunks, dim=1), strict=True)
        ]
    assert (torch.cat(logits, dim=1) - expected).abs().max() <= 1e-4


def test_cache_holds_keys_once(tmp_path: Path) -> None:
    save_random_model(tiny_config("deepseek_v4"), tmp_path)
    skeleton = build_skeleton(tmp_path)
    choose_experts_function(skeleton, SHAPES_ONLY)
    cached = {one.name: one.shape for one in find_cache(skeleton)}
    assert cached == {
        "0.key": (1, None, 8),
        "1.key": (1, None, 8),
        "1.compressor": (None, 16),
        "2.key": (1, None, 8),
        "2.compressor": (None, 32),
        "2.indexer": (None, 32),
    }
