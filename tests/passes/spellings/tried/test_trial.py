"""Experts in standard operators: recognised and equal however they are written, and never wrongly."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from layer_builder import Layer
from onnx_ir.passes.common import ShapeInferencePass
from raising import assert_raised, run
from spelled_layers import BFLOAT16, SEPARATE, STACKED, spell

from hetc.operators.activations import ACTIVATIONS, NEEDS_GATE
from hetc.passes.rewrite.raise_experts import RaiseExperts
from hetc.passes.spellings.tried import gathered_experts, grouped_experts, separate_experts, stacked_experts

SPELLINGS = [*SEPARATE, *STACKED]
TRIED = (gathered_experts, grouped_experts, separate_experts, stacked_experts)


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    experts = draw(st.integers(2, 6))
    return Layer(
        experts=experts,
        top_k=draw(st.integers(1, experts)),
        hidden=draw(st.integers(2, 7)),
        inter=draw(st.integers(2, 6)),
        gated=draw(st.booleans()),
        activation=draw(st.sampled_from(sorted(set(ACTIVATIONS) - set(NEEDS_GATE)))),
        bias=draw(st.booleans()),
        transposed=draw(st.booleans()),
        fused=draw(st.booleans()),
        dtype=draw(st.sampled_from([np.float32, np.float16, BFLOAT16])),
        leading=draw(st.sampled_from([("tokens",), ("batch", "patches"), ("batch", "rows", "columns")])),
        order=tuple(draw(st.permutations(range(experts)))),
        seed=draw(st.integers(0, 99)),
    )


@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(max_examples=3, deadline=None)
@given(layer=layers())
def test_raised_layer_is_equal(spelling: str, layer: Layer) -> None:
    model, feeds = spell(spelling, layer)
    assert_raised(model, feeds)


def test_a_row_in_which_every_neuron_saturates() -> None:
    layer = Layer(experts=2, top_k=1, hidden=3, inter=3, gated=False, transposed=False, order=(0, 1), seed=1)
    assert_raised(*spell("loop", layer))


def test_rows_of_one_expert_as_many_as_all() -> None:
    """An expert that all tokens of a run choose makes something as large as the layer's result."""
    layer = Layer(top_k=3, hidden=5, transposed=False, fused=True, leading=("tokens",), order=(0, 1, 3, 2))
    assert_raised(*spell("non_zero", layer))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_names_don_t_matter(spelling: str) -> None:
    def rename(model: ir.Model) -> None:
        random = np.random.default_rng(0)
        kept = [*model.graph.inputs, *model.graph.outputs]
        for node in model.graph.all_nodes():
            node.name = f"n{random.integers(1 << 40)}"
            for output in node.outputs:
                if output not in kept:
                    output.name = f"v{random.integers(1 << 40)}"
        for value in list(model.graph.initializers.values()):
            value.name = f"w{random.integers(1 << 40)}"

    model, feeds = spell(spelling, Layer(order=(0, 1, 2, 3)), rename)
    assert_raised(model, feeds)


def change_something(model: ir.Model, data: st.DataObject) -> str:
    """Changes one thing that a layer can be wrong by."""
    nodes = list(model.graph.all_nodes())
    node = nodes[data.draw(st.integers(0, len(nodes) - 1), label="node")]
    kind = data.draw(
        st.sampled_from(["operator", "operands", "constant", "input", "attribute"]), label="kind"
    )
    others = {"Add": "Sub", "Mul": "Add", "Sigmoid": "Tanh", "Relu": "Tanh", "Div": "Mul", "Erf": "Tanh"}
    if kind == "operator":
        assume(node.op_type in others)
        node.op_type = others[node.op_type]
    elif kind == "operands":
        assume(len(node.inputs) > 1)
        first, second = node.inputs[:2]
        node.replace_input_with(0, second)
        node.replace_input_with(1, first)
    elif kind == "constant":
        values = [v for v in node.inputs if v is not None and v.is_initializer()]
        assume(values)
        value = data.draw(st.sampled_from(values))
        assert value.const_value is not None
        array = value.const_value.numpy().copy()
        assume(array.dtype == np.int64)
        array.flat[data.draw(st.integers(0, array.size - 1))] += data.draw(st.sampled_from([-1, 1]))
        value.const_value = ir.tensor(array, name=value.name)
    elif kind == "input":
        index = data.draw(st.integers(0, max(len(node.inputs) - 1, 0)))
        assume(node.inputs)
        before = [o for n in nodes[: nodes.index(node)] if n.graph is node.graph for o in n.outputs]
        before += list(model.graph.initializers.values())
        node.replace_input_with(index, data.draw(st.sampled_from(before)))
    else:
        integers = [a for a in node.attributes.values() if a.type == ir.AttributeType.INT]
        assume(integers)
        attribute = data.draw(st.sampled_from(integers))
        node.attributes[attribute.name] = ir.AttrInt64(attribute.name, 1 - attribute.as_int())
    infer_shapes_again(model)
    return f"{kind} of {node.name} {node.op_type}"


def infer_shapes_again(model: ir.Model) -> None:
    """Shapes that were noted before a change would contradict the graph."""
    for node in model.graph.all_nodes():
        for output in node.outputs:
            if output not in model.graph.outputs:
                output.shape = None
    ShapeInferencePass()(model)


@pytest.mark.parametrize(
    "spelling", [name if name == "loop" else pytest.param(name, marks=pytest.mark.slow) for name in SPELLINGS]
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(layer=layers(), data=st.data())
def test_never_recognised_and_wrong(spelling: str, layer: Layer, data: st.DataObject) -> None:
    model, feeds = spell(spelling, layer)
    change_something(model, data)
    feeds = {
        "x": np.random.default_rng(1).standard_normal((*[4] * len(layer.leading), layer.hidden), np.float32)
    }
    try:
        before = run(model, feeds)
    except Exception:  # not a model any more
        assume(False)
    assume(np.isfinite(before[0]).all())
    raising = RaiseExperts(TRIED)
    if not raising(model).modified:
        assert all(finding.reason and finding.node for finding in raising.findings)
        return
    (after,) = run(model, feeds)
    bound = 1e-5 * max(1.0, float(np.abs(before[0]).max()))
    np.testing.assert_allclose(after, before[0], rtol=0, atol=bound)


def test_declines_with_the_node_and_the_reason() -> None:
    def another_activation(model: ir.Model) -> None:
        next(node for node in model.graph if node.op_type == "Sigmoid").op_type = "Softplus"

    model, _ = spell("non_zero", change=another_activation)
    raising = RaiseExperts()
    assert not raising(model).modified
    (finding,) = raising.findings
    assert "activation is none of silu" in finding.reason
    assert finding.node.startswith("node_")


def test_declines_what_is_read_elsewhere() -> None:
    def read_one(model: ir.Model) -> None:
        product = [node for node in model.graph if node.op_type == "ScatterND"][1]
        model.graph.outputs.append(product.outputs[0])

    model, _ = spell("non_zero", change=read_one)
    raising = RaiseExperts()
    assert not raising(model).modified
    assert "read what its experts give" in raising.findings[0].reason


def test_declines_experts_that_small_tokens_skip() -> None:
    """Branches that ask the tokens, cast to integers, whether an expert was chosen."""

    def ask_the_tokens(model: ir.Model) -> None:
        tokens = next(node.outputs[0] for node in model.graph if node.op_type == "Tanh")
        for node in model.graph:
            if node.op_type == "Cast" and node.outputs[0].consumers()[0].op_type == "ReduceMax":
                node.replace_input_with(0, tokens)

    model, _ = spell("branches", change=ask_the_tokens)
    assert not RaiseExperts(TRIED)(model).modified


def test_declines_a_missing_expert() -> None:
    model, _ = spell("non_zero", Layer(experts=4, order=(0, 1, 3)))
    raising = RaiseExperts()
    assert not raising(model).modified
    assert "chooses among 4, but there are 3 experts" in raising.findings[0].reason
    assert "batched_mm" in raising.findings[0].reason


def test_tokens_with_more_dimensions_before_a_layer_than_after_it() -> None:
    """Tools that merge Reshapes hand the experts a batch, and leave `[T, H]` behind them to be added to."""

    def merge(model: ir.Model) -> None:
        graph = model.graph
        by_type = {node.op_type: node for node in reversed(list(graph))}
        tokens, rows = by_type["Tanh"].outputs[0], by_type["Unsqueeze"]
        shape = ir.val("each", const_value=ir.tensor(np.array([-1, 1, Layer.hidden]), name="each"))
        graph.register_initializer(shape)
        each = ir.node("Reshape", [tokens, shape])
        graph.insert_before(rows, each)
        rows.outputs[0].replace_all_uses_with(each.outputs[0])
        graph.remove(rows, safe=True)
        back = next(node for node in reversed(list(graph)) if node.op_type == "Reshape")
        added = ir.node("Add", [back.inputs[0], by_type["Reshape"].outputs[0]])
        graph.insert_before(back, added)
        back.replace_input_with(0, added.outputs[0])

    model, feeds = spell("gathered", Layer(), merge)
    assert_raised(model, feeds)
