"""Builds MoE layers as onnxruntime/mobius writes them, for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = ["GATES", "DenseLoop"]

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

    def clamped_swish(self, gate: ir.Value, up: ir.Value) -> ir.Value:
        """gpt-oss' (mobius' models/gptoss.py), with a limit that small numbers reach."""
        op, limit = self.op, self.constant(self.dtype(0.7))
        bounded = op("Min", gate, limit)
        swish = op("Mul", bounded, op("Sigmoid", op("Mul", self.constant(self.dtype(1.702)), bounded)))
        clipped = op("Clip", up, self.constant(self.dtype(-0.7)), limit)
        return op("Mul", op("Add", clipped, self.constant(self.dtype(1))), swish)

    def layer(
        self,
        x: ir.Value,
        prefix: str,
        *,
        gate: str = "top_k",
        activation: str = "silu",
        gated: bool = True,
        bias: bool = False,
        order: Sequence[int] | None = None,
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
            if activation == "clamped_swish":
                h = self.clamped_swish(h, up)
            else:
                h = self.activate(h, activation)
                h = op("Mul", h, up) if gated else h
            y = self.linear(h, f"{name}.down_proj", self.hidden, self.inter, bias)
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
