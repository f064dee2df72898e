"""All experts in one product for each stack of weights; and routers that choose one expert after another."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import onnx_ir as ir
import pytest
from layer_builder import Layer
from raising import assert_raised, run
from spelled_layers import spell
from test_harder_layers import declined, insert, nodes_of

from hetc.passes.rewrite.raise_experts import RaiseExperts

CUBE = Layer(experts=4, top_k=2, hidden=4, inter=4, leading=("tokens",))
"""All axes are as long, so that any of them can be taken for any other."""


@pytest.mark.slow
@pytest.mark.parametrize("bias", [False, True])
def test_letters_of_another_axis_are_never_taken_for_the_expert(bias: bool) -> None:
    """Each Einsum's weight, and its result, with its letters in every order."""
    layer = Layer(**{**vars(CUBE), "bias": bias})
    model, _ = spell("einsum", layer)
    feeds = {"x": np.random.default_rng(0).standard_normal((4, 4), np.float32)}
    equations = [node.attributes["equation"].as_string() for node in nodes_of(model, "Einsum")]
    raised = 0
    for place, equation in enumerate(equations):
        terms, _, result = equation.partition("->")
        data, own = terms.rsplit(",", 1)
        others = [f"{data},{''.join(letters)}->{result}" for letters in permutations(own)]
        others += [f"{terms}->{''.join(letters)}" for letters in permutations(result)]
        for other in others:
            model, _ = spell("einsum", layer)
            node = nodes_of(model, "Einsum")[place]
            node.attributes["equation"] = ir.AttrString("equation", other)
            before = run(model, feeds)
            raising = RaiseExperts()
            if raising(model).modified:
                raised += 1
                np.testing.assert_allclose(run(model, feeds)[0], before[0], rtol=0, atol=1e-5)
            else:
                assert raising.findings, other
    assert raised >= 2 * len(equations)


@pytest.mark.parametrize("spelling", ["einsum", "batched"])
def test_a_clip_between_the_products_is_declined(spelling: str) -> None:
    def clip(model: ir.Model) -> None:
        insert(model, nodes_of(model, "Sigmoid")[0].outputs[0], "Clip", np.float32(0), np.float32(0.9))

    assert "activation is none of" in declined(spelling, Layer(), clip).reason


@pytest.mark.parametrize("spelling", ["einsum", "batched"])
def test_weights_that_are_no_shares_stay_as_they_are(spelling: str) -> None:
    """Whatever weighs the experts is read, not made: here logits, negative ones too."""

    def without_softmax(model: ir.Model) -> None:
        (softmax,) = nodes_of(model, "Softmax")
        softmax.op_type = "Identity"
        softmax.attributes.clear()

    assert_raised(*spell(spelling, Layer(), without_softmax))


def test_one_expert_whose_result_is_doubled() -> None:
    def double(model: ir.Model) -> None:
        (columns,) = nodes_of(model, "ScatterElements")
        factors = np.array([1, 2, 1, 1], np.float32)
        insert(model, columns.outputs[0], "Mul", factors)

    assert_raised(*spell("batched", Layer(), double))  # its weights are doubled

    def double_after(model: ir.Model) -> None:
        total = nodes_of(model, "ReduceSum")[-1].inputs[0]
        assert total is not None
        insert(model, total, "Mul", np.array([1, 2, 1, 1], np.float32).reshape(4, 1, 1))

    assert "not the sum of the chosen ones" in declined("batched", Layer(), double_after).reason


def test_stacks_with_an_attention_between_are_no_experts() -> None:
    """JetMoE's attention has a router, too; nothing is said of it."""

    def attend(model: ir.Model) -> None:
        down = nodes_of(model, "MatMul")[-1]
        hidden = down.inputs[0]
        turned = ir.node("Transpose", [hidden], {"perm": [0, 2, 1]}, name="turned")
        shares = ir.node("MatMul", [hidden, turned.outputs[0]], name="shares")
        mixed = ir.node("MatMul", [shares.outputs[0], hidden], name="mixed")
        for node in (turned, shares, mixed):
            node.outputs[0].name = node.name
        model.graph.insert_before(down, [turned, shares, mixed])
        down.replace_input_with(0, mixed.outputs[0])

    model, _ = spell("batched", Layer(), attend)
    raising = RaiseExperts()
    assert not raising(model).modified
    assert not raising.findings


def sparse_mixer(model: ir.Model, swapped: bool = False) -> None:
    """PhiMoE's router: the best expert, then the best of the others, each weighed by those close to it."""
    graph = model.graph
    top_k = next(node for node in graph if node.op_type == "TopK")
    (softmax,) = nodes_of(model, "Softmax")
    divide = next(node for node in graph if node.op_type == "Div")
    logits = softmax.inputs[0]
    assert logits is not None
    logits.shape, logits.dtype = softmax.outputs[0].shape, ir.DataType.FLOAT
    new: list[ir.Node] = []

    def constant(name: str, numbers: object) -> ir.Value:
        if name not in graph.initializers:
            graph.register_initializer(ir.val(name, const_value=ir.tensor(np.asarray(numbers), name=name)))
        return graph.initializers[name]

    def op(operator: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
        new.append(ir.node(operator, inputs, attributes, name=f"mixer_{len(new)}"))  # type: ignore[arg-type]
        new[-1].outputs[0].name = new[-1].name
        return new[-1].outputs[0]

    last, low = constant("last", [-1]), constant("low", np.float32(-np.inf))
    scores, weights, chosen = logits, [], []
    for _ in range(2):
        best = op("ReduceMax", scores, last, keepdims=1)
        chosen.append(op("ArgMax", scores, axis=-1, keepdims=1))
        apart = op("Div", op("Sub", best, logits), op("Max", op("Abs", logits), best))
        far = op("Greater", apart, constant("jitter", np.float32(0.5)))
        shares = op("Softmax", op("Where", far, low, scores), axis=-1)
        weights.append(op("GatherElements", shares, chosen[-1], axis=-1))
        lowest = op("Expand", low, op("Shape", chosen[-1]))
        scores = op("ScatterElements", scores, chosen[-1], lowest, axis=-1)
    weight = op("Concat", *weights, axis=-1)
    index = op("Concat", *(reversed(chosen) if swapped else chosen), axis=-1)
    graph.insert_before(top_k, new)
    divide.outputs[0].replace_all_uses_with(weight)
    top_k.outputs[1].replace_all_uses_with(index)
    for node in [divide, divide.inputs[1].producer(), top_k]:  # type: ignore[union-attr]
        graph.remove(node, safe=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("spelling", ["dense_mask", "sorted_split", "gathered", "grouped", "loop"])
def test_a_sparse_mixer_is_one_choice_of_two(spelling: str) -> None:
    assert_raised(*spell(spelling, Layer(experts=6), sparse_mixer))


def test_joined_choices_keep_their_order() -> None:
    """Experts that are weighed by each other's weights are still raised as what they are."""
    assert_raised(*spell("gathered", Layer(), lambda model: sparse_mixer(model, swapped=True)))
