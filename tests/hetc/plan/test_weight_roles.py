"""Which unit a weight belongs to by its name, for layers that are no attention."""

from __future__ import annotations

import pytest

from hetc.plan.weight_roles import unit_of_weight


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
    ],
)
def test_weights_of_no_named_unit(name: str) -> None:
    assert unit_of_weight(name) is None
