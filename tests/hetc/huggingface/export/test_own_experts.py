"""Families whose experts are code of their own, against transformers."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from families import EXPERTS, save_random_model  # noqa: E402
from model_types import OWN_EXPERTS, tiny_config  # noqa: E402
from test_export import assert_same_logits, experts_of  # noqa: E402
from test_model_types import check_model_type  # noqa: E402
from transformers import AutoModelForImageTextToText, Llama4Config  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402
from hetc.huggingface.export.export import export  # noqa: E402
from hetc.huggingface.export.tensor_files import CONVERTED_FILE  # noqa: E402

# The projections of each family that lie in the checkpoint's file as a graph can refer to them.
IN_PLACE = {"dbrx": {"gate", "up"}, "jetmoe": {"gate", "up", "down"}, "llama4_text": {"down"}}


@pytest.mark.slow
@pytest.mark.parametrize("model_type", OWN_EXPERTS)
def test_family_equals_transformers(model_type: str, tmp_path: Path) -> None:
    assert check_model_type(model_type, tmp_path) == ""
    path = tmp_path / "exported" / "model.onnx"
    onnx.checker.check_model(path)
    proto = onnx.load(path, load_external_data=False)
    files = {one.name: one.external_data[0].value for one in proto.graph.initializer if one.external_data}
    experts = experts_of(proto)
    assert experts
    assert len(experts) % EXPERTS == 0
    for node in experts:
        places = dict(zip(("gate", "up", "down"), (files[name] for name in node.input[1:]), strict=True))
        in_place = {projection for projection, file in places.items() if file != CONVERTED_FILE}
        assert in_place == IN_PLACE[model_type]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Casting complex values")  # the vision part's rotary embedding
def test_llama4_as_released(tmp_path: Path) -> None:
    """Text and images, bfloat16, one expert per token, in the configuration of training."""
    text = tiny_config("llama4_text", num_experts_per_tok=1, output_router_logits=True)
    vision = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "vision_output_dim": 16,
        "projector_input_dim": 16,
        "projector_output_dim": 16,
    }
    model = save_random_model(
        Llama4Config(text_config=text.to_dict(), vision_config=vision),
        tmp_path / "checkpoint",
        torch.bfloat16,
        AutoModelForImageTextToText,
    )
    path = export(tmp_path / "checkpoint", tmp_path / "exported")
    # The part that hetc exports: transformers 5.24 reads `image_outputs` of the whole, given text alone.
    assert_same_logits(path, model.language_model)
    nodes = experts_of(onnx.load(path, load_external_data=False))
    assert {node.op_type for node in nodes} == {"Expert16"}


def test_dbrx_whose_rotary_embedding_transformers_would_not_use(tmp_path: Path) -> None:
    save_random_model(tiny_config("dbrx"), tmp_path / "checkpoint")
    file = tmp_path / "checkpoint" / "config.json"
    config = json.loads(file.read_text())
    config["attn_config"]["rope_theta"] = 5e5
    file.write_text(json.dumps(config))
    with pytest.raises(InvalidInputError, match=r"rope_theta is 500000\.0, .* 10000\.0; give both"):
        export(tmp_path / "checkpoint", tmp_path / "exported")
