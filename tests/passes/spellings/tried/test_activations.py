"""Every activation between the products of an expert is recognised with its attributes, or none is."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from layer_builder import NODES, Layer
from raising import assert_raised
from spelled_layers import spell
from test_harder_layers import declined, insert, nodes_of

from hetc.operators.activations import ACTIVATIONS
from hetc.passes.rewrite.raise_experts import RaiseExperts
from hetc.passes.spellings.activation_choices import ALIKE


def attributes_of(model: ir.Model) -> dict[str, object]:
    expert = next(node for node in model.graph if node.domain == "hetc")
    return {name: attribute.value for name, attribute in expert.attributes.items()}


def test_every_activation_is_tried() -> None:
    assert {name for names in ALIKE for name in names} == set(ACTIVATIONS)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("activation", ["relu6", *NODES])
def test_activations(activation: str, gated: bool) -> None:
    model, feeds = spell("gathered", Layer(activation=activation, gated=gated))
    assert_raised(model, feeds)
    found = attributes_of(model)
    assert found["activation"] == activation
    slope = NODES.get(activation, ("", {}))[1].get("alpha")
    assert found.get("activation_alpha") == (None if slope is None else pytest.approx(slope))


@pytest.mark.parametrize("spelling", ["dense_mask", "einsum"])
def test_a_leaky_relu_without_a_node_of_its_own(spelling: str) -> None:
    def by_maximum(model: ir.Model) -> None:
        for node in nodes_of(model, "Relu"):
            z = node.inputs[0]
            assert z is not None and node.graph is not None
            slope = ir.val("slope", const_value=ir.tensor(np.float32(0.2), name="slope"))
            if "slope" not in model.graph.initializers:
                model.graph.register_initializer(slope)
            scaled = ir.node("Mul", [z, model.graph.initializers["slope"]], name=f"{node.name}_scaled")
            scaled.outputs[0].name = scaled.name
            node.graph.insert_before(node, scaled)
            node.op_type = "Max"
            node.resize_inputs(2)
            node.replace_input_with(1, scaled.outputs[0])

    model, feeds = spell(spelling, Layer(activation="relu", gated=False), by_maximum)
    assert_raised(model, feeds)
    assert attributes_of(model)["activation_alpha"] == pytest.approx(0.2)


def soft_cap(model: ir.Model, value: ir.Value, cap: float) -> None:
    insert(model, value, "Mul", np.float32(cap))
    insert(model, value, "Tanh")
    insert(model, value, "Div", np.float32(cap))


def soften(model: ir.Model, also: str = "") -> None:
    """Inkling's gate: the sigmoid sees the gate as it is, what it is multiplied with is bounded smoothly."""
    (sigmoid,) = nodes_of(model, "Sigmoid")
    gate = sigmoid.inputs[0]
    assert gate is not None
    (swish,) = [user for user in gate.consumers() if user.op_type == "Mul"]
    gated = next(user for user in swish.outputs[0].consumers())
    up = next(value for value in gated.inputs if value is not swish.outputs[0])
    assert up is not None
    soft_cap(model, up, 2.5)
    soft_cap(model, gate, 4)
    if also != "sigmoid":
        sigmoid.replace_input_with(0, gate)
    if also == "clip":
        insert(model, swish.outputs[0], "Clip", np.float32(-1), np.float32(1))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("spelling", ["gathered", "batched"])
def test_a_softly_capped_swish(spelling: str, fused: bool) -> None:
    model, feeds = spell(spelling, Layer(fused=fused), soften)
    assert_raised(model, feeds)
    found = attributes_of(model)
    assert (found["activation_gate_cap"], found["activation_up_cap"]) == (4.0, 2.5)


@pytest.mark.parametrize("also", ["sigmoid", "clip"])
def test_another_bound_is_declined(also: str) -> None:
    assert "activation is none of" in declined("gathered", Layer(), lambda m: soften(m, also)).reason


@pytest.mark.parametrize("activation", ["leaky_relu", "relu6", "tanh"])
def test_one_expert_with_another_activation(activation: str) -> None:
    def change(model: ir.Model) -> None:
        node = [n for n in model.graph if n.op_type in ("LeakyRelu", "Clip", "Tanh")][-1]
        if activation == "leaky_relu":
            node.attributes["alpha"] = ir.AttrFloat32("alpha", 0.3)
        elif activation == "relu6":
            six = ir.val("seven", const_value=ir.tensor(np.float32(7), name="seven"))
            model.graph.register_initializer(six)
            node.replace_input_with(2, six)
        else:
            node.op_type = "Sigmoid"

    model, _ = spell("dense_mask", Layer(activation=activation, gated=False), change)
    raising = RaiseExperts()
    assert not raising(model).modified
    assert raising.findings
