"""Layers that only some tokens, choices, lengths or weights give away, and routers of other kinds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import onnx_ir as ir
import pytest
from layer_builder import Layer
from onnx_ir.passes.common import RemoveUnusedNodesPass
from raising import assert_raised, run
from spelled_layers import spell

from hetc.passes.rewrite.raise_experts import RaiseExperts
from hetc.plan.finding import Finding

Change = Callable[[ir.Model], None]


def declined(spelling: str, layer: Layer, change: Change) -> Finding:
    """What is said of a layer that must not be raised."""
    model, _ = spell(spelling, layer, change)
    raising = RaiseExperts()
    assert not raising(model).modified, raising.findings
    (finding,) = raising.findings
    assert finding.difference is None
    return finding


def nodes_of(model: ir.Model, operator: str) -> list[ir.Node]:
    return [node for node in model.graph.all_nodes() if node.op_type == operator]


@pytest.mark.parametrize("top_k", [1, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 3))])
def test_a_branch_that_asks_for_another_expert(top_k: int) -> None:
    """Each expert's If may ask for each other expert's mask: some choice tells any two apart."""
    reasons = []
    for asking, asked in permutations(range(4), 2):

        def ask_another(model: ir.Model, asking: int = asking, asked: int = asked) -> None:
            masks = [node for node in model.graph if node.op_type == "Cast"]
            masks[asking].replace_input_with(0, masks[asked].inputs[0])

        layer = Layer(experts=4, top_k=top_k, hidden=2, inter=2, gated=False, activation="gelu")
        reasons.append(declined("branches", layer, ask_another).reason)
    assert any("nobody chooses experts" in reason for reason in reasons)


def insert(model: ir.Model, value: ir.Value, operator: str, *inputs: object, **attributes: object) -> None:
    """Puts a node between a value and all that read it."""
    constants = []
    for number, numbers in enumerate(inputs):
        name = f"{value.name}_{operator}_{number}"
        constants.append(ir.val(name, const_value=ir.tensor(np.asarray(numbers), name=name)))
        model.graph.register_initializer(constants[-1])
    node = ir.node(operator, [value, *constants], attributes, name=f"{value.name}_{operator}")  # type: ignore[arg-type]
    node.outputs[0].name = node.name
    maker = value.producer()
    assert maker is not None and isinstance(maker.graph, ir.Graph)
    for user, index in value.uses():
        user.replace_input_with(index, node.outputs[0])
    node.replace_input_with(0, value)
    maker.graph.insert_after(maker, node)


@pytest.mark.parametrize("capacity", [4, 1500])
@pytest.mark.parametrize("spelling", ["non_zero", "loop"])
@pytest.mark.parametrize("leading", [("tokens",), ("batch", "sequence")])
def test_experts_with_a_capacity(spelling: str, leading: tuple[str, ...], capacity: int) -> None:
    """Rows beyond it are dropped, which few tokens don't show."""

    def drop(model: ir.Model) -> None:
        for node in nodes_of(model, "NonZero"):
            insert(model, node.outputs[0], "Slice", [0], [capacity], [1])

    finding = declined(spelling, Layer(leading=leading), drop)
    if capacity > 4:
        assert "tokens choose the same experts" in finding.reason


def sigmoid_router(scale: float) -> Change:
    """Sigmoids of logits weigh, and sigmoids plus a bias choose, as in DeepSeek-V3 with one group."""

    def change(model: ir.Model) -> None:
        graph = model.graph
        (softmax,) = nodes_of(model, "Softmax")
        (top_k,) = [node for node in graph if node.op_type == "TopK"][:1]
        scores = softmax.outputs[0]
        softmax.op_type = "Sigmoid"
        softmax.attributes.clear()
        router = graph.initializers["gate.weight"]
        assert router.const_value is not None
        router.const_value = ir.tensor(router.const_value.numpy() * np.float32(scale), name="gate.weight")
        bias = ir.val("bias", const_value=ir.tensor(np.linspace(0, 0.1, 4, dtype=np.float32), name="bias"))
        graph.register_initializer(bias)
        biased = ir.node("Add", [scores, bias], name="biased")
        gathered = ir.node("GatherElements", [scores, top_k.outputs[1]], {"axis": -1}, name="gathered")
        biased.outputs[0].name, gathered.outputs[0].name = "biased", "gathered"
        biased.outputs[0].shape, biased.outputs[0].dtype = scores.shape, scores.dtype
        top_k.outputs[0].replace_all_uses_with(gathered.outputs[0])
        top_k.replace_input_with(0, biased.outputs[0])
        graph.insert_before(top_k, biased)
        graph.insert_after(top_k, gathered)

    return change


@pytest.mark.parametrize("scale", [0.1, 5])
@pytest.mark.parametrize("spelling", ["dense_mask", "sorted_split", "gathered"])
def test_sigmoids_of_a_large_router(spelling: str, scale: float) -> None:
    assert_raised(*spell(spelling, Layer(hidden=16, experts=4), sigmoid_router(scale)))


def test_nothing_finite_is_declined() -> None:
    def divide_by_nothing(model: ir.Model) -> None:
        (total,) = [node for node in model.graph if node.op_type == "ReduceSum"][-1:]
        assert total.inputs[0] is not None
        insert(model, total.inputs[0], "Mul", np.float32(np.inf))

    assert "finite" in declined("sorted_split", Layer(), divide_by_nothing).reason


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("spelling", ["dense_mask", "sorted_split"])
def test_one_choice_by_the_largest_score(spelling: str, keepdims: int) -> None:
    """ReduceMax and ArgMax instead of TopK: the index has no axis of choices without keepdims."""

    def largest(model: ir.Model) -> None:
        graph = model.graph
        top_k = next(node for node in graph if node.op_type == "TopK")
        scores = top_k.inputs[0]
        index = ir.node("ArgMax", [scores], {"axis": -1, "keepdims": keepdims}, name="argmax")
        index.outputs[0].name = "argmax"
        added = [index]
        read = index.outputs[0]
        axes = graph.register_initializer
        last = ir.val("last", const_value=ir.tensor(np.array([-1]), name="last"))
        axes(last)
        if not keepdims:
            added.append(ir.node("Unsqueeze", [read, last], name="column"))
            added[-1].outputs[0].name = "column"
            read = added[-1].outputs[0]
        weight = ir.node("ReduceMax", [scores, last], {"keepdims": 1}, name="largest")
        weight.outputs[0].name = "largest"
        added.append(weight)
        graph.insert_before(top_k, added)
        top_k.outputs[0].replace_all_uses_with(weight.outputs[0])
        top_k.outputs[1].replace_all_uses_with(read)
        graph.remove(top_k, safe=True)

    assert_raised(*spell(spelling, Layer(top_k=1), largest))


@pytest.mark.parametrize("keepdims", [0, 1])
def test_one_choice_weighed_in_a_column_for_each_expert(keepdims: int) -> None:
    """`scores * (argmax == range)`: the weights are gathered by the index, which gets its axis."""

    def mask(model: ir.Model) -> None:
        graph = model.graph
        top_k = next(node for node in graph if node.op_type == "TopK")
        (columns,) = nodes_of(model, "ScatterElements")
        scores = top_k.inputs[0]
        numbers = {"last": np.array([-1]), "range": np.arange(4)}
        last, experts = (
            ir.val(name, const_value=ir.tensor(array, name=name)) for name, array in numbers.items()
        )
        for value in (last, experts):
            graph.register_initializer(value)
        added = [ir.node("ArgMax", [scores], {"axis": -1, "keepdims": keepdims}, name="argmax")]
        if not keepdims:
            added.append(ir.node("Unsqueeze", [added[-1].outputs[0], last], name="column"))
        added.append(ir.node("Equal", [added[-1].outputs[0], experts], name="is_chosen"))
        added.append(ir.node("Cast", added[-1].outputs, {"to": 1}, name="mask"))
        added.append(ir.node("Mul", [scores, added[-1].outputs[0]], name="masked"))
        for node in added:
            node.outputs[0].name = node.name
        graph.insert_before(columns, added)
        columns.outputs[0].replace_all_uses_with(added[-1].outputs[0])
        RemoveUnusedNodesPass()(model)

    assert_raised(*spell("dense_scatter", Layer(top_k=1), mask))


@pytest.mark.parametrize("spelling", ["non_zero", "sorted_split", "loop", "gathered"])
@pytest.mark.parametrize("leading", [("tokens",), ("batch", "sequence")])
def test_a_graph_without_shapes(spelling: str, leading: tuple[str, ...]) -> None:
    """As TorchScript and optimum write it: only inputs and outputs have shapes."""

    def forget(model: ir.Model) -> None:
        for node in model.graph.all_nodes():
            for value in node.outputs:
                if not value.is_graph_output():
                    value.shape, value.type = None, None

    assert_raised(*spell(spelling, Layer(leading=leading), forget))


@pytest.mark.parametrize("spelling", ["dense_mask", "non_zero", "branches", "sorted_split"])
@pytest.mark.parametrize("first", [False, True])
def test_a_shared_expert_of_the_same_shape(spelling: str, first: bool) -> None:
    """Products that no choice reaches are not experts of the layer, whatever their shape."""

    def share(model: ir.Model) -> None:
        graph = model.graph
        rows = next(node for node in graph if node.op_type == "Reshape").outputs[0]
        back = [node for node in graph if node.op_type == "Reshape"][-1]
        names = ("up", "down")
        weights = []
        for number, name in enumerate(names):
            shape = ((6, 5), (5, 6))[number]
            numbers = np.random.default_rng(number).standard_normal(shape).astype(np.float32)
            name = f"model.layers.7.mlp.{0 if first else 'shared'}.{name}"
            weights.append(ir.val(name, const_value=ir.tensor(numbers, name=name)))
            graph.register_initializer(weights[-1])
        up = ir.node("MatMul", [rows, weights[0]], name="shared_up")
        act = ir.node("Relu", up.outputs, name="shared_act")
        down = ir.node("MatMul", [act.outputs[0], weights[1]], name="shared_down")
        operands = [back.inputs[0], down.outputs[0]]
        both = ir.node("Add", operands[::-1] if first else operands, name="with_shared")
        for node in (up, act, down, both):
            node.outputs[0].name = node.name
        graph.insert_before(back, [up, act, down, both])
        back.replace_input_with(0, both.outputs[0])

    layer = Layer(gated=False, activation="relu", transposed=False)
    model, feeds = spell(spelling, layer, share)
    assert_raised(model, feeds)
    assert sum(node.op_type == "MatMul" for node in model.graph) == 3  # the router's and the shared expert's


def test_a_clip_that_only_the_true_weights_reach() -> None:
    """Trials run on stand-ins; what was found is compared once more with the weights as they are."""

    def clip(model: ir.Model) -> None:
        (total,) = [node for node in model.graph if node.op_type == "ReduceSum"][-1:]
        assert total.inputs[0] is not None
        insert(model, total.inputs[0], "Clip", np.float32(-1e12), np.float32(1e12))
        for name, value in model.graph.initializers.items():
            if name.endswith("down"):
                assert value.const_value is not None
                large = value.const_value.numpy() * np.float32(1e13)
                value.const_value = ir.tensor(large, name=name)

    finding = declined("sorted_split", Layer(), clip)
    assert "on its true weights its canonical form differs by" in finding.reason
    assert "1e-04 is allowed" in finding.reason


def test_the_difference_is_reported() -> None:
    model, feeds = spell("sorted_split")
    (finding,) = assert_raised(model, feeds)
    assert finding.difference is not None and finding.difference < 1e-5
    assert "on its true weights" in str(finding)
    assert run(model, feeds)[0].shape == feeds["x"].shape
