"""Lowering changes the analog units, nothing else, and not the values in exact mode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from models import moe_model

from hetc.compiler.placement import Placement, make_plan
from hetc.hardware.profile import Profile
from hetc.model.load import LoadedModel
from hetc.passes.rewrite.lower_analog import LowerAnalog
from hetc.plan.plan import Plan
from hetc.runtimes.onnxruntime.session import open_session

IDS = {"input_ids": np.arange(11)}


def plan_for(model: ir.Model, **placement: object) -> Plan:
    for index, node in enumerate(model.graph):
        node.name = node.name or f"node_{index}"
    loaded = LoadedModel(model, {"file": "", "sha256": "", "producer": ""})
    return make_plan(loaded, Placement(**placement), Profile())  # type: ignore[arg-type]


def logits(model: ir.Model, folder: Path, *, mode: str | None = None) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    ir.save(model, folder / "model.onnx")
    config = {"hetc.mode": mode} if mode else {}
    session = open_session(folder / "model.onnx", config, library=mode is not None)
    return session.run(None, IDS)[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("gated", "activation"), [(True, "silu"), (False, "relu2"), (True, "gelu_tanh")])
def test_exact_mode_equals_the_model(tmp_path: Path, dtype: type, gated: bool, activation: str) -> None:
    model = moe_model(dtype=dtype, gated=gated, activation=activation)
    before = logits(model, tmp_path / "before")
    plan = plan_for(model, digital_frac="0.25", analog=("layers.*.attention", "lm_head"))
    assert LowerAnalog(plan)(model).modified
    np.testing.assert_allclose(logits(model, tmp_path / "after", mode="exact"), before, atol=2e-6)


def test_kernels_and_bodies_agree_on_converters(tmp_path: Path) -> None:
    model = moe_model(hidden=40, inter=24)
    LowerAnalog(plan_for(model, digital_frac="0", analog=("lm_head",)))(model)
    with_kernels = logits(model, tmp_path / "kernels", mode="converters")
    np.testing.assert_allclose(logits(model, tmp_path / "bodies"), with_kernels, atol=1e-5)


def test_only_analog_units_change() -> None:
    model = moe_model(layers=1, experts=4)
    plan = plan_for(model, digital_frac="0.5")
    untouched = {node.name: node.op_type for node in model.graph}
    for name in [unit.nodes[0] for unit in plan.units if unit.target == "analog"]:
        untouched.pop(name)
    LowerAnalog(plan)(model)
    after = {node.name: node.op_type for node in model.graph}
    assert untouched.items() <= after.items()
    assert sorted(after[name] for name in after.keys() - untouched.keys()) == ["AnalogExpert"] * 2


def test_attributes_carry_the_plan() -> None:
    model = moe_model(layers=1, experts=4)
    plan = plan_for(model, digital_frac="0.5", seed=7, analog=("layers.0.experts.0",))
    LowerAnalog(plan)(model)
    nodes = {node.name: node for node in model.graph if node.op_type == "AnalogExpert"}
    assert nodes.keys() == {unit.id for unit in plan.units if unit.target == "analog"}
    assert {plan.by_id[name].pinned for name in nodes if name} == {True, False}
    for name, node in nodes.items():
        unit = plan.by_id[name or ""]
        assert node.attributes["seed"].as_int() == 7
        assert node.attributes["rank"].as_int() == unit.rank
        assert node.attributes["group_size"].as_int() == (0 if unit.pinned else 4)
        assert node.attributes["digital_count"].as_int() == (0 if unit.pinned else 2)
        streams = [matrix.stream for matrix in unit.matrices]
        assert [node.attributes[f"{p}_stream"].as_int() for p in ("gate", "up", "down")] == streams


def test_nothing_analog_changes_nothing() -> None:
    model = moe_model()
    plan = plan_for(model, digital_frac="1")
    before = [(node.op_type, node.name) for node in model.graph]
    assert not LowerAnalog(plan)(model).modified
    assert [(node.op_type, node.name) for node in model.graph] == before


def test_gemm_keeps_its_bias(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    model = moe_model(layers=1)
    product = next(
        node for node in model.graph if node.op_type == "MatMul" and node.outputs[0].name == "logits"
    )
    bias = ir.val("lm_head.bias", const_value=ir.tensor(random.standard_normal(11).astype(np.float32)))
    model.graph.register_initializer(bias)
    gemm = ir.node("Gemm", [*product.inputs, bias])
    ir.convenience.replace_nodes_and_values(
        model.graph, product, [product], [gemm], product.outputs, gemm.outputs
    )
    before = logits(model, tmp_path / "before")
    LowerAnalog(plan_for(model, analog=("lm_head",)))(model)
    assert "Gemm" not in {node.op_type for node in model.graph}
    np.testing.assert_allclose(logits(model, tmp_path / "after", mode="exact"), before, atol=2e-6)
