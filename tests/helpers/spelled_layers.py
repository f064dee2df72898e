"""MoE layers as people and exporters write them, in standard operators, small and random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from layer_builder import Builder, Layer

__all__ = ["SEPARATE", "STACKED", "spell", "spell_many"]

Spelling = Callable[[Builder, ir.Value, ir.Value, ir.Value, ir.Value], ir.Value]
"""Writes one layer: tokens, the chosen experts, their weights, all scores; gives what the experts give."""


def dense_mask(b: Builder, x: ir.Value, index: ir.Value, weight: ir.Value, scores: ir.Value) -> ir.Value:
    """Every expert on every token, times the weight where it was chosen."""
    total = None
    for e in b.order:
        chosen = b.op("Cast", b.op("Equal", index, b.constant(np.int64(e))), to=1)
        share = b.op("ReduceSum", b.op("Mul", chosen, weight), b.constant([-1]), keepdims=1)
        term = b.op("Mul", share, b.feed_forward(x, b.expert(e)))
        total = term if total is None else b.op("Add", total, term)
    assert total is not None
    return total


def dense_scatter(b: Builder, x: ir.Value, index: ir.Value, weight: ir.Value, scores: ir.Value) -> ir.Value:
    """Weights scattered into a row for each token, one column for each expert; stacked results."""
    columns = _columns(b, index, weight, scores)
    terms = [None] * b.layer.experts
    for e in b.order:
        terms[e] = b.op("Unsqueeze", b.feed_forward(x, b.expert(e)), b.constant([-2]))
    stacked = b.op("Concat", *terms, axis=-2)
    weighted = b.op("Mul", stacked, b.op("Unsqueeze", columns, b.constant([-1])))
    return b.op("ReduceSum", weighted, b.constant([-2]), keepdims=0)


def _columns(b: Builder, index: ir.Value, weight: ir.Value, scores: ir.Value) -> ir.Value:
    """Weights `[T, E]`, 0 for the experts that a token didn't choose."""
    zeros = b.op("Expand", b.constant(np.float32(0)), b.op("Shape", scores))
    columns: ir.Value = b.op("ScatterElements", zeros, index, weight, axis=-1)
    return columns


def non_zero(b: Builder, x: ir.Value, index: ir.Value, weight: ir.Value, scores: ir.Value) -> ir.Value:
    """The rows that chose an expert, gathered and added back."""
    total = b.op("Mul", x, b.constant(np.float32(0)))
    for e in b.order:
        total = _add_rows(b, total, x, index, weight, b.constant(np.int64(e)), b.expert(e))
    return total


def _add_rows(
    b: Builder,
    total: ir.Value,
    x: ir.Value,
    index: ir.Value,
    weight: ir.Value,
    number: ir.Value,
    weights: dict[str, ir.Value],
) -> ir.Value:
    where = b.op("Transpose", b.op("NonZero", b.op("Equal", index, number)), perm=[1, 0])
    rows, _ = b.op("Split", where, outputs=2, axis=1, num_outputs=2)
    y = b.feed_forward(b.op("GatherND", x, rows), weights)
    share = b.op("Unsqueeze", b.op("GatherND", weight, where), b.constant([1]))
    old = b.op("GatherND", total, rows)
    return b.op("ScatterND", total, rows, b.op("Add", old, b.op("Mul", y, share)))


def branches(b: Builder, x: ir.Value, index: ir.Value, weight: ir.Value, scores: ir.Value) -> ir.Value:
    """As `non_zero`, each expert inside of an If that is taken where any row chose it."""
    total = b.op("Mul", x, b.constant(np.float32(0)))
    for e in b.order:
        number, weights = b.constant(np.int64(e)), b.expert(e)
        chosen = b.op("Cast", b.op("Equal", index, number), to=7)
        taken = b.op("Greater", b.op("ReduceMax", chosen, keepdims=0), b.constant(np.int64(0)))
        with b.subgraph() as then:
            then.outputs.append(_add_rows(b, total, x, index, weight, number, weights))
        with b.subgraph() as otherwise:
            otherwise.outputs.append(b.op("Identity", total))
        total = b.op("If", taken, then_branch=then, else_branch=otherwise)
    return total


def sorted_split(b: Builder, x: ir.Value, index: ir.Value, weight: ir.Value, scores: ir.Value) -> ir.Value:
    """Rows sorted by expert, cut into pieces, and brought back by the inverse permutation."""
    flat = b.op("Reshape", index, b.constant([-1]))
    count = b.op("Shape", flat)
    _, order = b.op("TopK", flat, count, outputs=2, axis=0, largest=0, sorted=1)
    _, inverse = b.op("TopK", order, count, outputs=2, axis=0, largest=0, sorted=1)
    equal = b.op("Equal", b.op("Unsqueeze", flat, b.constant([1])), b.constant([np.arange(b.layer.experts)]))
    sizes = b.op("ReduceSum", b.op("Cast", equal, to=7), b.constant([0]), keepdims=0)
    rows = b.op("Gather", x, b.op("Div", order, b.constant(np.int64(b.layer.top_k))), axis=0)
    pieces = b.op("Split", rows, sizes, outputs=b.layer.experts, axis=0)
    pieces = [pieces] if b.layer.experts == 1 else pieces
    terms: list[Any] = [None] * b.layer.experts
    for e in b.order:
        terms[e] = b.feed_forward(pieces[e], b.expert(e))
    restored = b.op("Gather", b.op("Concat", *terms, axis=0), inverse, axis=0)
    shape = b.constant([-1, b.layer.top_k, b.layer.hidden])
    weighted = b.op("Mul", b.op("Reshape", restored, shape), b.op("Unsqueeze", weight, b.constant([2])))
    return b.op("ReduceSum", weighted, b.constant([1]), keepdims=0)


def stacked_parts(b: Builder, x: ir.Value, index: ir.Value, weight: ir.Value, scores: ir.Value) -> ir.Value:
    """As `non_zero`, the weights being parts of stacks."""
    stacks = b.stacks()
    total = b.op("Mul", x, b.constant(np.float32(0)))
    for e in b.order:
        weights = {
            name: b.op("Gather", stack, b.constant(np.int64(e)), axis=0) for name, stack in stacks.items()
        }
        total = _add_rows(b, total, x, index, weight, b.constant(np.int64(e)), weights)
    return total


def loop(b: Builder, x: ir.Value, index: ir.Value, weight: ir.Value, scores: ir.Value) -> ir.Value:
    """A Loop over experts that picks its weights from the stacks."""
    stacks = b.stacks()
    zeros = b.op("Mul", x, b.constant(np.float32(0)))
    with b.subgraph() as body:
        number = ir.val("number", ir.DataType.INT64, [])
        going = ir.val("going", ir.DataType.BOOL, [])
        total = ir.val("total", ir.DataType.FLOAT)
        body.inputs.extend([number, going, total])
        weights = {name: b.op("Gather", stack, number, axis=0) for name, stack in stacks.items()}
        result = _add_rows(b, total, x, index, weight, number, weights)
        body.outputs.extend([b.op("Identity", going), result])
    return b.op("Loop", b.constant(np.int64(b.layer.experts)), b.constant(np.bool_(True)), zeros, body=body)


def _activated(
    b: Builder, rows: ir.Value, stacks: dict[str, ir.Value], product: Callable[[ir.Value, str], ir.Value]
) -> ir.Value:
    """What the rows' products with `down` read."""
    if "gate_up" in stacks:
        gate, up = b.op("Split", product(rows, "gate_up"), outputs=2, axis=-1, num_outputs=2)
        return b.op("Mul", b.activate(gate), up)
    if "gate" in stacks:
        return b.op("Mul", b.activate(product(rows, "gate")), product(rows, "up"))
    return b.activate(product(rows, "up"))


def gathered(b: Builder, x: ir.Value, index: ir.Value, weight: ir.Value, scores: ir.Value) -> ir.Value:
    """Each row multiplied with the weights of its expert."""
    stacks = b.stacks()
    flat = b.op("Reshape", index, b.constant([-1]))
    repeated = b.op("Expand", b.op("Unsqueeze", x, b.constant([1])), b.constant([1, b.layer.top_k, 1]))
    rows = b.op("Reshape", repeated, b.constant([-1, 1, b.layer.hidden]))

    def product(rows: ir.Value, name: str) -> ir.Value:
        chosen = b.op("Gather", stacks[name], flat, axis=0)
        if b.layer.transposed:
            chosen = b.op("Transpose", chosen, perm=[0, 2, 1])
        y = b.op("MatMul", rows, b.wide(chosen))
        if f"{name}_bias" not in stacks:
            return y
        bias = b.op("Unsqueeze", b.op("Gather", stacks[f"{name}_bias"], flat, axis=0), b.constant([1]))
        return b.op("Add", y, b.wide(bias))

    hidden = _activated(b, rows, stacks, product)
    shape = b.constant([-1, b.layer.top_k, b.layer.hidden])
    y = b.op("Reshape", product(hidden, "down"), shape)
    return b.op(
        "ReduceSum", b.op("Mul", y, b.op("Unsqueeze", weight, b.constant([2]))), b.constant([1]), keepdims=0
    )


def grouped(b: Builder, x: ir.Value, index: ir.Value, weight: ir.Value, scores: ir.Value) -> ir.Value:
    """Rows sorted by expert, a product for each part of a stack, the activation on all rows at once."""
    stacks, experts = b.stacks(), b.layer.experts
    flat = b.op("Reshape", index, b.constant([-1]))
    ids, order = b.op("TopK", flat, b.op("Shape", flat), outputs=2, axis=-1, largest=0, sorted=1)
    _, inverse = b.op("TopK", order, b.op("Shape", flat), outputs=2, axis=-1, largest=0, sorted=1)
    equal = b.op("Equal", b.op("Unsqueeze", flat, b.constant([1])), b.constant([np.arange(experts)]))
    sizes = b.op("ReduceSum", b.op("Cast", equal, to=7), b.constant([0]), keepdims=0)
    ends = b.op("CumSum", sizes, b.constant(np.int64(0)))
    zero, one = b.constant(np.int64(0)), b.constant(np.int64(1))

    def product(rows: ir.Value, name: str) -> ir.Value:
        turned = b.op("Transpose", stacks[name], perm=[0, 2, 1]) if b.layer.transposed else stacks[name]
        parts = b.op("Split", b.wide(turned), outputs=experts, axis=0, num_outputs=experts)
        terms, start = [], zero
        for e in range(experts):
            end = b.op("Gather", ends, b.constant(np.int64(e)), axis=0)
            chosen = b.op("Gather", rows, b.op("Range", start, end, one), axis=0)
            terms.append(b.op("MatMul", chosen, b.op("Squeeze", parts[e], b.constant([0]))))
            start = end
        y = b.op("Concat", *terms, axis=0)
        bias = stacks.get(f"{name}_bias")
        return y if bias is None else b.op("Add", y, b.wide(b.op("Gather", bias, ids, axis=0)))

    rows = b.op("Gather", x, b.op("Div", order, b.constant(np.int64(b.layer.top_k))), axis=0)
    hidden = _activated(b, rows, stacks, product)
    shape = b.constant([-1, b.layer.top_k, b.layer.hidden])
    y = b.op("Reshape", b.op("Gather", product(hidden, "down"), inverse, axis=0), shape)
    weighted = b.op("Mul", y, b.op("Unsqueeze", weight, b.constant([2])))
    return b.op("ReduceSum", weighted, b.constant([1]), keepdims=0)


def einsum(b: Builder, x: ir.Value, index: ir.Value, weight: ir.Value, scores: ir.Value) -> ir.Value:
    """Every expert on every token, in one Einsum for each stack; without biases the last one sums, too."""
    stacks, columns = b.stacks(), _columns(b, index, weight, scores)

    def product(rows: ir.Value, name: str) -> ir.Value:
        own = "eih" if b.layer.transposed != (name == "down") else "ehi"
        data, result = ("th", "tei") if name != "down" else ("tei", "teh")
        operands, terms = [rows, b.wide(stacks[name])], [data, own]
        if name == "down" and not b.layer.bias:
            operands, terms, result = [columns, *operands], ["te", *terms], "th"
        y = b.op("Einsum", *operands, equation=f"{','.join(terms)}->{result}")
        bias = stacks.get(f"{name}_bias")
        return y if bias is None else b.op("Add", y, b.wide(bias))

    y = product(_activated(b, x, stacks, product), "down")
    return b.op("Einsum", y, columns, equation="teh,te->th") if b.layer.bias else y


def batched(b: Builder, x: ir.Value, index: ir.Value, weight: ir.Value, scores: ir.Value) -> ir.Value:
    """Every expert on every token, in one batched MatMul for each stack."""
    stacks, columns = b.stacks(), _columns(b, index, weight, scores)

    def product(rows: ir.Value, name: str) -> ir.Value:
        turned = b.op("Transpose", stacks[name], perm=[0, 2, 1]) if b.layer.transposed else stacks[name]
        y = b.op("MatMul", rows, b.wide(turned))
        bias = stacks.get(f"{name}_bias")
        return y if bias is None else b.op("Add", y, b.op("Unsqueeze", b.wide(bias), b.constant([1])))

    rows = b.op("Unsqueeze", x, b.constant([0]))
    y = product(_activated(b, rows, stacks, product), "down")
    shares = b.op("Unsqueeze", b.op("Transpose", columns, perm=[1, 0]), b.constant([2]))
    return b.op("ReduceSum", b.op("Mul", y, shares), b.constant([0]), keepdims=0)


SEPARATE: dict[str, Spelling] = {
    spelling.__name__: spelling
    for spelling in (dense_mask, dense_scatter, non_zero, branches, sorted_split, stacked_parts)
}
STACKED: dict[str, Spelling] = {
    spelling.__name__: spelling for spelling in (gathered, loop, grouped, einsum, batched)
}
DEFAULT = Layer()


def spell(
    spelling: str, layer: Layer = DEFAULT, change: Callable[[ir.Model], None] | None = None
) -> tuple[ir.Model, dict[str, Any]]:
    """A model `x + moe(norm(x))` with one layer of the spelling, and feeds for it."""
    b = Builder(layer)
    x = ir.val("x", ir.DataType.FLOAT, [*layer.leading, layer.hidden])
    b.graph.inputs.append(x)
    tokens = b.op("Tanh", x)
    tokens.shape, tokens.dtype = x.shape, x.dtype
    rows = b.op("Reshape", tokens, b.constant([-1, layer.hidden]))
    rows.shape, rows.dtype = ir.Shape(["rows", layer.hidden]), ir.DataType.FLOAT
    router = b.constant(
        b.random.standard_normal((layer.hidden, layer.experts)).astype(np.float32), "gate.weight"
    )
    scores = b.op("Softmax", b.op("MatMul", rows, router), axis=-1)
    scores.shape, scores.dtype = ir.Shape(["rows", layer.experts]), ir.DataType.FLOAT
    chosen, index = b.op("TopK", scores, b.constant([layer.top_k]), outputs=2, axis=-1, largest=1, sorted=1)
    weight = b.op("Div", chosen, b.op("ReduceSum", chosen, b.constant([-1]), keepdims=1))
    y = {**SEPARATE, **STACKED}[spelling](b, rows, index, weight, scores)
    back = b.op("Reshape", y, b.op("Shape", x))
    result = b.op("Add", x, back)
    result.shape, result.dtype = x.shape, x.dtype
    b.graph.outputs.append(result)
    model = ir.Model(b.graph, ir_version=10)
    if change is not None:
        change(model)
    feed = b.random.standard_normal((*(2 + n for n in range(len(layer.leading))), layer.hidden))
    return model, {"x": feed.astype(np.float32)}


def spell_many(spelling: str, layer: Layer, layers: int) -> ir.Model:
    """A model `x = x + moe(x)`, layer by layer, all of one spelling."""
    b = Builder(layer)
    x = ir.val("x", ir.DataType.FLOAT, ["tokens", layer.hidden])
    b.graph.inputs.append(x)
    for number in range(layers):
        b.prefix = f"model.layers.{number}.mlp"
        router = b.weight(f"{b.prefix}.gate.weight", layer.hidden, layer.experts)
        scores = b.op("Softmax", b.op("MatMul", x, router), axis=-1)
        scores.shape, scores.dtype = ir.Shape(["tokens", layer.experts]), ir.DataType.FLOAT
        weight, index = b.op("TopK", scores, b.constant([layer.top_k]), outputs=2, axis=-1)
        y = {**SEPARATE, **STACKED}[spelling](b, x, index, weight, scores)
        shape, x = x.shape, b.op("Add", x, y)
        x.shape, x.dtype = shape, ir.DataType.FLOAT
    b.graph.outputs.append(x)
    return ir.Model(b.graph, ir_version=10)


BFLOAT16 = ml_dtypes.bfloat16
