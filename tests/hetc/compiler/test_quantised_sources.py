"""Models that ONNX Runtime's quantisers made, through compile and verify."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from partition_runs import open_plain, run_parts
from quantised_models import QUANTISERS, plain_proto

import hetc
from hetc.compiler.compile import plan_model
from hetc.compiler.loading import load_moe_model
from hetc.passes.analysis.find_units import find_units, model_parameters
from hetc.plan.plan import Plan

PACKED = {"blocks": "MatMulNBits", "qdq": "DequantizeLinear", "dynamic": "MatMulInteger"}

IDS = {"input_ids": np.arange(11)}


@pytest.fixture(scope="module")
def plain() -> Plan:
    return plan_model(ir.from_proto(plain_proto(layers=1)), digital_frac=0.25)[1]


@pytest.mark.parametrize(
    "name", ["blocks", *(pytest.param(n, marks=pytest.mark.slow) for n in ("qdq", "dynamic"))]
)
def test_shares_are_the_plain_models_and_exact_mode_the_sources(
    name: str, plain: Plan, tmp_path: Path
) -> None:
    source = QUANTISERS[name](plain_proto(layers=1), tmp_path)
    bundle = hetc.compile(source, tmp_path / "bundle", digital_frac=0.25)
    plan = bundle.plan
    assert [(unit.id, unit.parameters, unit.target) for unit in plan.units] == [
        (unit.id, unit.parameters, unit.target) for unit in plain.units
    ]
    assert (plan.shares, plan.model_parameters) == (plain.shares, plain.model_parameters)
    (experts,) = (row for row in plan.arithmetic if row.kind == "expert")
    assert (experts.units, experts.computed) == (4, PACKED[name])
    assert experts.values == "float32"
    assert experts.activation_bits == (0 if name == "blocks" else 8)
    assert Plan.load(bundle.path / "plan.json").arithmetic == plan.arithmetic
    assert {check.status for check in hetc.verify(bundle, seeds=2)} == {"ok"}
    # One expert, attention, router and LM head stay packed; the values of three experts are written.
    written = onnx.load(bundle.path / "model.onnx", load_external_data=False)
    operators = Counter(node.op_type for node in written.graph.node)
    assert (operators["AnalogExpert"], operators["Expert"]) == (3, 0)
    assert operators[PACKED[name]] == 3 + 3
    of_expert = {"layers.0.experts.0", "layers.0.experts.1", "layers.0.experts.2", "layers.0.experts.3"}
    digital = {unit.id for unit in plan.units if unit.target == "digital"} & of_expert
    stamped = Counter(
        entry.value
        for node in written.graph.node
        for entry in node.metadata_props
        if entry.key == "hetc.unit"
    )
    assert all(stamped[unit] > 3 for unit in digital), "the nodes of a digital expert know their unit"
    hetc.partition_bundle(bundle, tmp_path / "parts")
    whole = open_plain(bundle.path / "model.onnx").run(None, IDS)
    np.testing.assert_allclose(run_parts(tmp_path / "parts", IDS)[0], whole[0], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_scores_are_those_of_the_values(tmp_path: Path) -> None:
    """MaxNNScore of dequantised weights: of 8 bits, close to the plain model's."""
    quantised = QUANTISERS["blocks"](plain_proto(layers=1), tmp_path, bits=8)
    _, plan = plan_model(quantised)
    _, plain = plan_model(ir.from_proto(plain_proto(layers=1)))
    for unit, expected in zip(plan.units, plain.units, strict=True):
        assert unit.score == pytest.approx(expected.score, rel=0.02)


def tied_proto() -> onnx.ModelProto:
    """The LM head is the embedding's table, turned."""
    proto = plain_proto(layers=1)
    held = {one.name: one for one in proto.graph.initializer}
    table = numpy_helper.to_array(held["model.embed_tokens.weight"])
    head = numpy_helper.from_array(np.ascontiguousarray(table.T), "lm_head.weight")
    held["lm_head.weight"].CopyFrom(head)
    return proto


@pytest.mark.slow
@pytest.mark.parametrize("name", QUANTISERS)
def test_a_tied_table_that_is_quantised_counts_once(name: str, tmp_path: Path) -> None:
    plain = load_moe_model(ir.from_proto(tied_proto())).model
    quantised = load_moe_model(QUANTISERS[name](tied_proto(), tmp_path)).model
    assert "embedding" not in {unit.id for unit in find_units(quantised)}
    assert model_parameters(quantised) == model_parameters(plain)


def test_packed_weights_of_analog_units_stay_behind(tmp_path: Path) -> None:
    """Of a file of packed weights, a bundle has what is digital."""
    source = QUANTISERS["blocks"](plain_proto(layers=1, inter=128), tmp_path)
    bundle = hetc.compile(
        source, tmp_path / "bundle", digital_frac=0, analog=["layers.*.attention", "lm_head"]
    )
    assert [name for name in bundle.manifest if name.startswith("weights/")] == ["weights/inline.bin"]
    written = onnx.load(bundle.path / "model.onnx", load_external_data=False)
    packed = [one.name for one in written.graph.initializer if one.name.endswith("_Q4")]
    assert packed == ["model.layers.0.mlp.gate.weight_Q4"]
