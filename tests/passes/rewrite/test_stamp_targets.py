"""Every node says its target, unit and partition, and computes what it did."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from hetc.passes.rewrite.stamp_targets import StampTargets

UNIT_OF = {"expert": "layers.0.experts.0", "head": "lm_head"}


def stamp(model: ir.Model) -> ir.passes.PassResult:
    return StampTargets(UNIT_OF)(model)


def chain(*, analog: str = "AnalogMatMul", domain: str = "hetc") -> ir.Model:
    """`head(expert(norm(x)))`, one node each."""
    x = ir.val("x", ir.DataType.FLOAT, ["T", 3])
    w = ir.val("w", const_value=ir.tensor(np.eye(3, dtype=np.float32), name="w"))
    norm = ir.node("Tanh", [x], name="norm")
    expert = ir.node(analog, [norm.outputs[0], w], domain=domain, name="expert")
    head = ir.node("Neg", expert.outputs, name="head")
    y = head.outputs[0]
    y.name, y.type, y.shape = "y", x.type, x.shape
    graph = ir.Graph(
        [x], [y], nodes=[norm, expert, head], initializers=[w], opset_imports={"": 18, "hetc": 1}, name="g"
    )
    return ir.Model(graph, ir_version=10)


def stamps(model: ir.Model) -> dict[str, dict[str, str]]:
    return {node.name or "": dict(node.metadata_props) for node in model.graph}


def test_each_node_carries_its_place() -> None:
    model = chain()
    assert stamp(model).modified
    digital, analog = ({"hetc.target": target, "layer_ann": target} for target in ("digital", "analog"))
    assert stamps(model) == {
        "norm": {**digital, "hetc.partition": "0"},
        "expert": {**analog, "hetc.partition": "1", "hetc.unit": "layers.0.experts.0"},
        "head": {**digital, "hetc.partition": "2", "hetc.unit": "lm_head"},
    }


@pytest.mark.parametrize(
    ("operator", "domain", "target"),
    [
        ("AnalogExpert", "hetc", "analog"),
        ("Expert", "hetc", "digital"),
        ("Expert16", "hetc", "digital"),
        ("AnalogMatMul", "com.example", "digital"),
    ],
)
def test_only_analog_operators_are_analog(operator: str, domain: str, target: str) -> None:
    model = chain(analog=operator, domain=domain)
    stamp(model)
    assert {name: stamp["hetc.target"] for name, stamp in stamps(model).items()} == {
        "norm": "digital",
        "expert": target,
        "head": "digital",
    }


def test_nothing_but_the_stamps_changes() -> None:
    model = chain(analog="MatMul", domain="")
    next(iter(model.graph)).metadata_props["note"] = "kept"
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    before = [(node.op_type, node.name, node.inputs, node.outputs) for node in model.graph]
    (expected,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    stamp(model)
    assert [(node.op_type, node.name, node.inputs, node.outputs) for node in model.graph] == before
    assert stamps(model)["norm"]["note"] == "kept"
    (y,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    np.testing.assert_array_equal(y, expected)


def test_a_second_stamp_replaces_the_first() -> None:
    model = chain()
    stamp(model)
    for node in model.graph:
        node.metadata_props["hetc.partition"] = "7"
    stamp(model)
    assert [props["hetc.partition"] for props in stamps(model).values()] == ["0", "1", "2"]


def test_the_partitions_are_kept() -> None:
    stamping = StampTargets(UNIT_OF)
    stamping(chain())
    assert [partition.target for partition in stamping.partitions] == ["digital", "analog", "digital"]
    assert stamping.partitions[1].units == ("layers.0.experts.0",)


def test_a_node_without_a_name_of_its_own_is_an_error() -> None:
    model = chain()
    model.graph[1].name = "norm"
    with pytest.raises(ir.passes.PreconditionError, match="'norm' has no name of its own"):
        stamp(model)
