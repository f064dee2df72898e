"""Encoder-decoders: equal to transformers, tokens that it drops included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from families import EXPERTS, VOCABULARY, save_random_model  # noqa: E402
from model_types import ENCODER_DECODERS, tiny_config  # noqa: E402
from test_export import TOLERANCE  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402
from hetc.bundle.verify import verify  # noqa: E402
from hetc.compiler.compile import compile  # noqa: E402
from hetc.evaluation.generate import generate_tokens  # noqa: E402
from hetc.evaluation.likelihood import session_predict  # noqa: E402
from hetc.huggingface.export.export import export  # noqa: E402
from hetc.huggingface.export.skeleton import build_skeleton  # noqa: E402

# The first source is padded on the right.
MASK = np.ones((2, 40), np.int64)
MASK[0, 30:] = 0
SOURCE = np.random.default_rng(0).integers(3, VOCABULARY, MASK.shape) * MASK
TARGET = np.random.default_rng(1).integers(3, VOCABULARY, (2, 30))


def logits_of(model: Any) -> np.ndarray:
    names = ("input_ids", "attention_mask", "decoder_input_ids")
    tensors = (torch.from_numpy(array) for array in (SOURCE, MASK, TARGET))
    with torch.no_grad():
        return model(**dict(zip(names, tensors, strict=True))).logits.numpy()


def every_expert(experts: Any, hidden: Any, chosen: Any, weights: Any) -> Any:
    """NLLB-MoE's experts as transformers 4 has them: 5.24 reads a mask as numbers of experts."""
    total = torch.zeros_like(hidden)
    for number in range(experts.num_experts):
        rows = weights[:, number].nonzero().flatten()
        result = experts[f"expert_{number}"](hidden[rows]) * weights[rows, number, None]
        total.index_add_(0, rows, result * (1 - experts.moe_token_dropout))
    return total


def check_encoder_decoder(model_type: str, folder: Path) -> str:
    """Export a tiny model, and compare its logits with those of transformers."""
    from transformers.models.nllb_moe.modeling_nllb_moe import NllbMoeExperts

    auto_class = transformers.AutoModelForSeq2SeqLM
    model = save_random_model(tiny_config(model_type), folder / "checkpoint", auto_class=auto_class)
    path = export(folder / "checkpoint", folder / "exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NllbMoeExperts, "forward", every_expert)
        expected = logits_of(model)
    feeds = {"input_ids": SOURCE, "attention_mask": MASK, "decoder_input_ids": TARGET}
    (actual,) = onnxruntime.InferenceSession(path).run(None, feeds)
    assert np.abs(expected).max() > 0.1
    assert np.abs(actual - expected).max() <= TOLERANCE
    if model_type == "switch_transformers":
        for module in model.modules():
            if hasattr(module, "expert_capacity"):
                module.expert_capacity = SOURCE.size
        assert np.abs(logits_of(model) - expected).max() > 100 * TOLERANCE  # some tokens were dropped
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ENCODER_DECODERS)
def test_encoder_decoder(model_type: str, tmp_path: Path) -> None:
    assert check_encoder_decoder(model_type, tmp_path) == ""
    path = tmp_path / "exported" / "model.onnx"
    graph = onnx.load(path, load_external_data=False).graph
    # The decoder's layers are numbered on from the encoder's.
    names = [node.name for node in graph.node if node.domain == "hetc"]
    assert names == [f"layers.{layer}.experts.{expert}" for layer in (1, 3) for expert in range(EXPERTS)]
    assert [[dim.dim_param for dim in one.type.tensor_type.shape.dim] for one in graph.input] == [
        ["batch", "sequence"],
        ["batch", "sequence"],
        ["batch", "target_sequence"],
    ]
    bundle = compile(path, tmp_path / "out.hetc")
    kinds = [(unit.layer, unit.kind) for unit in bundle.plan.units if unit.kind in ("attention", "dense_mlp")]
    assert kinds == [
        (number, kind) for number in range(4) for kind in ("attention", "dense_mlp")[: 2 - number % 2]
    ]
    attentions = [len(unit.matrices) for unit in bundle.plan.units if unit.kind == "attention"]
    assert attentions == [4, 4, 8, 8]  # a decoder's asks its encoder, too
    assert {check.status for check in verify(bundle, seeds=2)} == {"ok"}
    session = bundle.session(mode="exact")
    losses, _ = session_predict(session, bundle.path)(TARGET)
    assert losses.shape == (2, 15)
    written = list(generate_tokens(session, SOURCE[0, :5].tolist(), 4, folder=bundle.path))
    assert len(written) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"moe_eval_capacity_token_fraction": 0.5}, "moe_eval_capacity_token_fraction is 0.5"),
        ({"second_expert_policy": "random"}, "second_expert_policy is 'random'"),
    ],
)
def test_tokens_that_depend_on_chance_or_on_others_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    tiny_config("nllb-moe", **changes).save_pretrained(tmp_path)
    with pytest.raises(InvalidInputError, match=message):
        build_skeleton(tmp_path)
