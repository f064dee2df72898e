"""Models of transformers as its exporter and PyTorch's write them, with each implementation of experts."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from raising import assert_raised

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from model_types import tiny_config  # noqa: E402

pytestmark = pytest.mark.slow

SIZES: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "num_experts_per_tok": 2,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4},
    "olmoe": {"num_experts": 4},
    "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 8, "head_dim": 8, "norm_topk_prob": True},
    "gpt_oss": {"num_local_experts": 4, "head_dim": 8},
}


OTHER_ROUTERS = ("phimoe", "deepseek_v3", "glm4_moe")
"""Sparse mixers, and sigmoids with a bias that choose groups first."""


def make_model(family: str, experts: str, deviation: float = 0.5) -> Any:
    torch.manual_seed(0)
    if family in OTHER_ROUTERS:
        config = tiny_config(family, num_hidden_layers=2)
    else:
        config = transformers.AutoConfig.for_model(family, **SIZES, **FAMILIES[family])
    config.use_cache = False
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for name, parameter in model.named_parameters():
        if "experts" in name:
            torch.nn.init.normal_(parameter, std=deviation)  # biases of random models are 0
    model.set_experts_implementation(experts)
    return model


@pytest.mark.parametrize(
    "family", [name if name == "olmoe" else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
)
def test_pytorch_with_batched_mm(family: str) -> None:
    exported = exported_by_pytorch(make_model(family, "batched_mm"))
    feeds = {"input_ids": np.random.default_rng(0).integers(0, 32, (2, 5))}
    findings = assert_raised(exported, feeds, layers=2)
    assert {finding.spelling for finding in findings} == {"weights chosen from stacks"}


@pytest.mark.parametrize("family", OTHER_ROUTERS)
def test_pytorch_with_other_routers(family: str) -> None:
    """Weights as small as models start with, which leave little of an expert beside rounding."""
    exported = exported_by_pytorch(make_model(family, "batched_mm", deviation=0.02))
    feeds = {"input_ids": np.random.default_rng(0).integers(0, 32, (2, 5))}
    assert_raised(exported, feeds, layers=2 if family == "phimoe" else 1)


def exported_by_pytorch(model: Any) -> ir.Model:
    ids = torch.zeros(2, 3, dtype=torch.int64)
    dynamic = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        program = torch.onnx.export(
            model,
            (ids,),
            input_names=["input_ids"],
            dynamic_shapes={"input_ids": {0: dynamic, 1: dynamic}},
            dynamo=True,
            verbose=False,
        )
    exported: ir.Model = program.model
    return exported


@pytest.mark.parametrize(
    "family", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("olmoe", "qwen3_moe")), "gpt_oss"]
)
def test_transformers_with_grouped_mm(family: str) -> None:
    exporters = pytest.importorskip("transformers.exporters.exporter_onnx")
    ids = torch.zeros(2, 3, dtype=torch.int64)
    program = exporters.OnnxExporter().export(
        make_model(family, "grouped_mm"),
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        exporters.OnnxConfig(dynamic=True),
    )
    model: ir.Model = program.program
    feeds = {
        "input_ids": np.random.default_rng(0).integers(0, 32, (2, 5)),
        "attention_mask": np.ones((2, 5), np.int64),
    }
    findings = assert_raised(model, feeds, layers=2)
    assert {finding.spelling for finding in findings} == {"grouped_mm"}
