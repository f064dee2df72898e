"""mobius' dense loop -> the canonical layer: its four gates, and what isn't one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from raising import assert_raised, run

from hetc.passes.raise_experts import RaiseExperts

GATES = ("top_k", "softmax_top_k", "sigmoid_top_k", "sparse_mixer")


class DenseLoop:
    """Builds a model as mobius' `MoELayer` does (components/_moe.py, _mlp.py of mobius-onnx 0.1.0)."""

    def __init__(self, *, hidden: int, inter: int, experts: int, top_k: int, dtype: Any = np.float32) -> None:
        self.random = np.random.default_rng(0)
        self.hidden, self.inter, self.experts, self.top_k = hidden, inter, experts, top_k
        self.dtype, self.kind = dtype, ir.DataType.from_numpy(np.dtype(dtype))
        self.x = ir.val("x", self.kind, ["batch", "sequence", hidden])
        self.graph = ir.Graph([self.x], [], nodes=[], opset_imports={"": 21}, name="dense")

    def op(self, operator: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        node = ir.node(operator, inputs, attributes, num_outputs=outputs)
        node.name = f"{operator}_{len(self.graph)}"
        for index, value in enumerate(node.outputs):
            value.name = f"{node.name}.{index}"
        self.graph.append(node)
        return node.outputs[0] if outputs == 1 else node.outputs

    def constant(self, numbers: Any) -> ir.Value:
        return self.op("Constant", value=ir.tensor(numbers))

    def weight(self, name: str, *shape: int) -> ir.Value:
        numbers = (self.random.standard_normal(shape) / np.sqrt(shape[-1])).astype(self.dtype)
        value = ir.val(name, const_value=ir.tensor(numbers, name=name))
        self.graph.register_initializer(value)
        return value

    def linear(self, x: ir.Value, name: str, outputs: int, inputs: int, bias: bool) -> ir.Value:
        product = self.op(
            "MatMul", x, self.op("Transpose", self.weight(f"{name}.weight", outputs, inputs), perm=[1, 0])
        )
        return self.op("Add", product, self.weight(f"{name}.bias", outputs)) if bias else product

    def gate(self, kind: str, prefix: str, x: ir.Value) -> tuple[ir.Value, ir.Value]:
        op, last = self.op, self.constant(np.array([-1]))
        logits = self.linear(x, f"{prefix}.gate", self.experts, self.hidden, bias=False)
        if kind == "sparse_mixer":
            return self.sparse_mixer(logits, last)
        scores = {"softmax_top_k": "Softmax", "sigmoid_top_k": "Sigmoid"}.get(kind)
        scores = logits if scores is None else op(scores, logits)
        count = self.constant(np.array([self.top_k]))
        weights, chosen = op("TopK", scores, count, outputs=2, axis=-1)
        if kind == "top_k":
            return op("Softmax", weights, axis=-1), chosen
        total = op("ReduceSum", weights, last, keepdims=1)
        if kind == "sigmoid_top_k":
            total = op("Add", total, self.constant(self.dtype(1e-4)))
        return op("Div", weights, total), chosen

    def sparse_mixer(self, scores: ir.Value, last: ir.Value) -> tuple[ir.Value, ir.Value]:
        op = self.op
        least, threshold = self.constant(self.dtype(-1e4)), self.constant(self.dtype(0.02))
        one = self.constant(np.array([1]))
        weights, chosen = [], []
        for _ in range(self.top_k):
            highest = op("ReduceMax", scores, last, keepdims=1)
            ratio = op("Div", op("Sub", highest, scores), op("Max", op("Abs", scores), highest))
            masked = op("Where", op("Greater", ratio, threshold), least, scores)
            _, index = op("TopK", masked, one, outputs=2, axis=-1)
            weights.append(op("GatherElements", op("Softmax", masked, axis=-1), index, axis=-1))
            chosen.append(index)
            scores = op("ScatterElements", scores, index, op("Expand", least, op("Shape", index)), axis=-1)
        return op("Concat", *weights, axis=-1), op("Concat", *chosen, axis=-1)

    def activate(self, z: ir.Value, kind: str) -> ir.Value:
        op = self.op
        if kind == "silu":
            return op("Mul", z, op("Sigmoid", z))
        if kind == "relu2":
            return op("Pow", op("Relu", z), self.constant(self.dtype(2)))
        if kind == "gelu":
            erf = op("Erf", op("Div", z, self.constant(self.dtype(np.sqrt(2)))))
            return op(
                "Mul",
                op("Mul", z, op("Add", erf, self.constant(self.dtype(1)))),
                self.constant(self.dtype(0.5)),
            )
        return op("Gelu", z, approximate="tanh")

    def layer(
        self,
        x: ir.Value,
        prefix: str,
        *,
        gate: str = "top_k",
        activation: str = "silu",
        gated: bool = True,
        bias: bool = False,
        order: list[int] | None = None,
    ) -> ir.Value:
        op = self.op
        weights, chosen = self.gate(gate, prefix, x)
        last, result = self.constant(np.array([-1])), None
        for expert in order or range(self.experts):
            name = f"{prefix}.experts.{expert}"
            up = self.linear(x, f"{name}.up_proj", self.inter, self.hidden, bias)
            h = up
            if gated:
                h = self.linear(x, f"{name}.gate_proj", self.inter, self.hidden, bias)
            h = self.activate(h, activation)
            y = self.linear(
                op("Mul", h, up) if gated else h, f"{name}.down_proj", self.hidden, self.inter, bias
            )
            mask = op("Cast", op("Equal", chosen, self.constant(np.array(expert))), to=self.kind.value)
            share = op("ReduceSum", op("Mul", weights, mask), last, keepdims=1)
            term = op("Mul", y, share)
            result = term if result is None else op("Add", result, term)
        assert result is not None
        result.type, result.shape = self.x.type, self.x.shape
        return result

    def model(self, output: ir.Value) -> ir.Model:
        y = self.op("Identity", output)
        y.name, y.type, y.shape = "y", self.x.type, self.x.shape
        self.graph.outputs.append(y)
        return ir.Model(self.graph, ir_version=10)

    def feeds(self) -> dict[str, NDArray[Any]]:
        return {"x": self.random.standard_normal((2, 3, self.hidden)).astype(self.dtype)}


@pytest.mark.parametrize("gate", GATES)
def test_gates(gate: str) -> None:
    build = DenseLoop(hidden=8, inter=6, experts=4, top_k=2)
    x = build.layer(build.x, "model.layers.2.mlp", gate=gate)
    model = build.model(build.layer(x, "model.layers.5.mlp", gate=gate))
    findings = assert_raised(model, build.feeds(), layers=2)
    assert [finding.layer for finding in findings] == ["layers.2", "layers.5"]
    assert "model.layers.5.mlp.experts.3.up_proj.weight" in model.graph.initializers
    assert not [
        node for node in model.graph if node.op_type == "Equal" and "experts" not in (node.name or "")
    ]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_equal_after_raising(data: st.DataObject) -> None:
    experts = data.draw(st.integers(2, 6))
    gate = data.draw(st.sampled_from(GATES))
    dtype = data.draw(st.sampled_from([np.float32, np.float16]))
    top_k = 1 if experts == 2 else data.draw(st.integers(1, experts - 1))
    build = DenseLoop(
        hidden=data.draw(st.integers(1, 9)),
        inter=data.draw(st.integers(1, 9)),
        experts=experts,
        top_k=top_k,
        dtype=dtype,
    )
    prefix = data.draw(st.sampled_from(["model.layers.3.mlp", "w", "Größe/"]))
    model = build.model(
        build.layer(
            build.x,
            prefix,
            gate=gate,
            activation=data.draw(st.sampled_from(["silu", "gelu", "gelu_tanh", "relu2"])),
            gated=data.draw(st.booleans()),
            bias=data.draw(st.booleans()),
            order=data.draw(st.permutations(range(experts))),
        )
    )
    assert_raised(model, build.feeds(), tolerance=1e-5 if dtype is np.float32 else 2e-2)


def _decline(model: ir.Model) -> str:
    before = ir.to_proto(model).SerializeToString()
    raising = RaiseExperts()
    assert not raising(model).modified
    assert ir.to_proto(model).SerializeToString() == before
    (finding,) = raising.findings
    return finding.reason


def test_experts_that_a_trace_left_out_are_declined() -> None:
    build = DenseLoop(hidden=8, inter=6, experts=4, top_k=2)
    model = build.model(build.layer(build.x, "model.layers.0.mlp", order=[0, 1, 2]))
    assert "the router knows 4 experts, the layer has 3" in _decline(model)


def test_foreign_term_in_the_sum_is_left_outside() -> None:
    build = DenseLoop(hidden=8, inter=6, experts=3, top_k=2)
    y = build.layer(build.x, "model.layers.0.mlp")
    shared = build.linear(build.x, "shared", 8, 8, bias=False)
    model = build.model(build.op("Add", shared, y))
    assert_raised(model, build.feeds())


def test_expert_with_another_activation_is_declined() -> None:
    build = DenseLoop(hidden=8, inter=6, experts=3, top_k=2)
    model = build.model(build.layer(build.x, "model.layers.0.mlp"))
    node = next(node for node in model.graph if node.op_type == "Sigmoid")
    node.op_type = "Tanh"
    assert "the activation is none of" in _decline(model)


def test_normalization_inside_of_an_expert_is_declined() -> None:
    build = DenseLoop(hidden=8, inter=6, experts=3, top_k=2)
    model = build.model(build.layer(build.x, "model.layers.0.mlp"))
    node = next(node for node in model.graph if node.op_type == "Sigmoid")
    node.op_type = "Softmax"
    assert "a Softmax stands between the products" in _decline(model)


def test_router_and_its_names_survive() -> None:
    build = DenseLoop(hidden=8, inter=6, experts=3, top_k=2)
    model = build.model(build.layer(build.x, "model.layers.0.mlp", gate="softmax_top_k"))
    router = [node for node in model.graph if node.op_type in ("Softmax", "TopK", "Div")]
    router[0].metadata_props["layer_ann"] = "npu"
    names = [node.name for node in router]
    expected = run(model, build.feeds())[0].shape
    RaiseExperts()(model)
    assert [node.name for node in router if node.graph is model.graph] == names
    assert router[0].metadata_props == {"layer_ann": "npu"}
    assert expected == (2, 3, 8)
