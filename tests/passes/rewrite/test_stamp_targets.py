"""Every node says its target, unit and partition, and computes what it did."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from hetc.passes.rewrite.stamp_targets import StampTargets

PARTITION_OF = {"norm": 0, "expert": 1, "head": 2}
UNIT_OF = {"expert": "layers.0.experts.0", "head": "lm_head"}


def stamp(model: ir.Model, partition_of: dict[str, int] = PARTITION_OF) -> ir.passes.PassResult:
    return StampTargets(partition_of, UNIT_OF)(model)


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
        "norm": {**digital, "hetc.bundle.partition": "0"},
        "expert": {**analog, "hetc.bundle.partition": "1", "hetc.unit": "layers.0.experts.0"},
        "head": {**digital, "hetc.bundle.partition": "2", "hetc.unit": "lm_head"},
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
    stamp(model, {"norm": 4, "expert": 5, "head": 6})
    assert [props["hetc.bundle.partition"] for props in stamps(model).values()] == ["4", "5", "6"]


def test_a_node_of_no_partition_is_an_error() -> None:
    model = chain()
    with pytest.raises(KeyError, match="head"):
        stamp(model, {"norm": 0, "expert": 1})
