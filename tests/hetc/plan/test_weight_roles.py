"""Which unit a weight belongs to by its name, for layers that are no attention."""

from __future__ import annotations

import pytest

from hetc.plan.weight_roles import encoder_layers, in_tower, layer_name, unit_of_weight


@pytest.mark.parametrize(
    ("name", "unit", "projection"),
    [
        ("model.layers.0.linear_attn.in_proj_qkv.weight", "layers.0.attention", "in_proj_qkv"),
        ("model.layers.0.mamba.in_proj.weight", "layers.0.attention", "in_proj"),
        ("model.layers.0.mamba.dt_proj.weight", "layers.0.attention", "dt_proj"),
        ("backbone.layers.0.mixer.out_proj.weight", "layers.0.attention", "out_proj"),
        ("backbone.layers.2.mixer.q_proj.weight", "layers.2.attention", "q_proj"),
        ("backbone.layers.3.mixer.up_proj.weight", "layers.3.mlp", "up_proj"),
        ("backbone.layers.1.mixer.shared_experts.up_proj.weight", "layers.1.shared_expert", "up_proj"),
        ("backbone.layers.1.mixer.gate.weight", "layers.1.router", "gate"),
        (
            "model.layers.1.self_attn.forget_gate.f_a_proj.weight",
            "layers.1.attention",
            "forget_gate.f_a_proj",
        ),
        ("encoder.block.2.layer.0.SelfAttention.q.weight", "layers.2.attention", "q"),
        ("decoder.block.2.layer.1.EncDecAttention.q.weight", "layers.2.attention", "EncDecAttention.q"),
        ("encoder.block.2.layer.1.mlp.wi.weight", "layers.2.mlp", "wi"),
        ("decoder.block.1.layer.2.mlp.router.classifier.weight", "layers.1.router", "router"),
        (
            "model.decoder.layers.1.cross_attention.k_proj.bias",
            "layers.1.attention",
            "cross_attention.k_proj",
        ),
        ("model.encoder.layers.1.ffn.fc2.weight", "layers.1.mlp", "fc2"),
    ],
)
def test_unit_of_weight(name: str, unit: str, projection: str) -> None:
    role = unit_of_weight(name)
    assert role is not None
    assert (role.unit_id, role.projection) == (unit, projection)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.mamba.A_log",
        "model.layers.0.mamba.norm.weight",
        "model.layers.0.mamba.dt_layernorm.weight",
        "backbone.layers.1.mixer.experts.3.up_proj.weight",
        "backbone.layers.0.mixer.norm.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "decoder.block.1.layer.2.mlp.experts.expert_0.wi.weight",
    ],
)
def test_weights_of_no_named_unit(name: str) -> None:
    assert unit_of_weight(name) is None


def test_a_decoder_goes_on_counting_where_its_encoder_ends() -> None:
    layers = [("encoder", 0), ("decoder", 0), ("encoder", 1), ("decoder", 5)]
    assert encoder_layers(layers) == 2
    assert encoder_layers([("decoder", 5)]) == encoder_layers([("encoder", 3), ("", 7)]) == 0
    assert layer_name("encoder.block.1.layer.1.mlp.experts", 2) == "layers.1"
    assert layer_name("model.decoder.layers.1.ffn.experts", 2) == "layers.3"
    assert layer_name("model.layers.3.mlp.experts") == "layers.3"


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("model.visual.blocks.0.attn.qkv.weight", True),
        ("vision_tower.encoder.layers.0.self_attn.q_proj.weight", True),
        ("model.vision_model.model.layers.0.mlp.fc1.weight", True),
        ("model.language_model.layers.0.self_attn.q_proj.weight", False),
        ("model.layers.0.mlp.visual_gate.weight", False),
    ],
)
def test_names_of_a_vision_tower(name: str, inside: bool) -> None:
    assert in_tower(name) is inside
