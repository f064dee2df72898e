"""A model of transformers has the same units by PyTorch's own exporter as by `hetc export`."""

from __future__ import annotations

from pathlib import Path

import pytest
from exporters import with_numbered_nodes, with_numbered_weights

from hetc.compiler.loading import load_moe_model
from hetc.passes.analysis.find_units import find_units, model_parameters

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.mark.slow
@pytest.mark.parametrize(("family", "attention"), [("qwen2_moe", "sdpa"), ("qwen3_moe", "eager")])
def test_shares_by_pytorch(family: str, attention: str, tmp_path: Path) -> None:
    from families import FAMILIES, save_random_model

    from hetc.huggingface.export.export import export

    model = save_random_model(FAMILIES[family][0](), tmp_path / "checkpoint")
    export(tmp_path / "checkpoint", tmp_path / "ours")
    model.set_attn_implementation(attention)
    model.set_experts_implementation("batched_mm")
    model.config.use_cache = False
    dynamic = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        exported = torch.onnx.export(
            model,
            (torch.zeros(2, 3, dtype=torch.int64),),
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_shapes={"input_ids": {0: dynamic, 1: dynamic}},
            dynamo=True,
            verbose=False,
        )
    exported.save(tmp_path / "theirs.onnx")
    ours, theirs, nameless = (
        load_moe_model(path).model
        for path in (tmp_path / "ours", tmp_path / "theirs.onnx", tmp_path / "theirs.onnx")
    )
    with_numbered_nodes(with_numbered_weights(nameless))
    expected = {unit.id: (unit.parameters, len(unit.matrices)) for unit in find_units(ours)}
    for other in (theirs, nameless):
        assert {unit.id: (unit.parameters, len(unit.matrices)) for unit in find_units(other)} == expected
        assert model_parameters(other) == model_parameters(ours)
