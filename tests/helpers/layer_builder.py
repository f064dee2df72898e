"""Writes the nodes of one random MoE layer; `spelled_layers` says in which spelling."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

__all__ = ["NODES", "Builder", "Layer"]


@dataclass(frozen=True)
class Layer:
    """What to build.

    Attributes:
        experts, top_k, hidden, inter: sizes.
        gated: whether experts have a gate.
        activation: as hetc names it.
        bias: whether products have biases.
        transposed: whether weights are `[out, in]`.
        fused: whether gate and up are one weight, the gate first.
        dtype: type of the expert weights; a Cast widens the others.
        leading: leading dimensions of x.
        order: in which experts are written.
        seed: of the numbers.
    """

    experts: int = 4
    top_k: int = 2
    hidden: int = 6
    inter: int = 5
    gated: bool = True
    activation: str = "silu"
    bias: bool = False
    transposed: bool = True
    fused: bool = False
    dtype: Any = np.float32
    leading: tuple[str, ...] = ("batch", "patches")
    order: tuple[int, ...] = ()
    seed: int = 0


NODES: dict[str, tuple[str, dict[str, float]]] = {
    "leaky_relu": ("LeakyRelu", {"alpha": 0.1}),
    "elu": ("Elu", {"alpha": 0.7}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "softplus": ("Softplus", {}),
    "hard_swish": ("HardSwish", {}),
}
"""Activations that are a node."""


@dataclass
class Builder:
    """Writes nodes into a graph."""

    layer: Layer
    prefix: str = "model.layers.7.mlp"
    graph: ir.Graph = field(
        default_factory=lambda: ir.Graph([], [], nodes=[], opset_imports={"": 18}, name="g")
    )

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.layer.seed)
        self.body = self.graph
        self.count = 0

    def op(self, operator: str, *inputs: ir.Value | None, outputs: int = 1, **attributes: Any) -> Any:
        node = ir.node(operator, inputs, attributes, num_outputs=outputs)
        for output in node.outputs:
            self.count += 1
            output.name = f"{operator.lower()}_{self.count}"
        self.body.append(node)
        return node.outputs[0] if outputs == 1 else node.outputs

    def constant(self, numbers: Any, name: str = "") -> ir.Value:
        self.count += 1
        array = np.asarray(numbers)
        tensor = ir.tensor(array, name=name or f"constant_{self.count}")
        value = ir.val(tensor.name, tensor.dtype, tensor.shape, const_value=tensor)
        self.graph.register_initializer(value)
        return value

    def weight(self, name: str, *shape: int) -> ir.Value:
        numbers = self.random.standard_normal(shape) / np.sqrt(shape[-1])
        return self.constant(numbers.astype(self.layer.dtype), name)

    @contextlib.contextmanager
    def subgraph(self) -> Iterator[ir.Graph]:
        outer, self.body = self.body, ir.Graph([], [], nodes=[], name="body")
        try:
            yield self.body
        finally:
            self.body = outer

    def wide(self, value: ir.Value) -> ir.Value:
        return value if value.dtype == ir.DataType.FLOAT else self.op("Cast", value, to=1)

    def product(self, x: ir.Value, weight: ir.Value, bias: ir.Value | None) -> ir.Value:
        if self.layer.transposed and self.random.integers(2) and x.shape is not None and len(x.shape) == 2:
            return self.op("Gemm", x, self.wide(weight), bias and self.wide(bias), transB=1)
        turned = self.op("Transpose", weight, perm=[1, 0]) if self.layer.transposed else weight
        product = self.op("MatMul", x, self.wide(turned))
        return self.op("Add", product, self.wide(bias)) if bias is not None else product

    def activate(self, z: ir.Value) -> ir.Value:
        kind = self.layer.activation
        if kind == "silu":
            return self.op("Mul", z, self.op("Sigmoid", z))
        if kind == "relu":
            return self.op("Relu", z)
        if kind == "relu6":
            return self.op("Clip", z, self.constant(np.float32(0)), self.constant(np.float32(6)))
        if kind in NODES:
            operator, attributes = NODES[kind]
            return self.op(operator, z, **attributes)
        if kind == "relu2":
            return self.op("Pow", self.op("Relu", z), self.constant(np.float32(2)))
        half, one = self.constant(np.float32(0.5)), self.constant(np.float32(1))
        if kind == "gelu":
            inner = self.op("Erf", self.op("Div", z, self.constant(np.float32(np.sqrt(2)))))
        else:
            cubic = self.op(
                "Mul", self.op("Pow", z, self.constant(np.float32(3))), self.constant(np.float32(0.044715))
            )
            inner = self.op(
                "Tanh",
                self.op("Mul", self.op("Add", z, cubic), self.constant(np.float32(np.sqrt(2 / np.pi)))),
            )
        return self.op("Mul", self.op("Mul", z, half), self.op("Add", inner, one))

    def feed_forward(self, x: ir.Value, weights: dict[str, ir.Value]) -> ir.Value:
        if "gate_up" in weights:
            both = self.product(x, weights["gate_up"], weights.get("gate_up_bias"))
            gate, up = self.op("Split", both, outputs=2, axis=-1, num_outputs=2)
            hidden = self.op("Mul", self.activate(gate), up)
        else:
            up = self.product(x, weights["up"], weights.get("up_bias"))
            hidden = up
            if "gate" in weights:
                gate = self.product(x, weights["gate"], weights.get("gate_bias"))
                hidden = self.op("Mul", up, self.activate(gate))
            else:
                hidden = self.activate(up)
        return self.product(hidden, weights["down"], weights.get("down_bias"))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        layer = self.layer
        parts = {"up": (layer.inter, layer.hidden), "down": (layer.hidden, layer.inter)}
        if layer.gated and layer.fused:
            parts["gate_up"] = (2 * layer.inter, parts.pop("up")[1])
        elif layer.gated:
            parts["gate"] = parts["up"]
        return {name: shape if layer.transposed else shape[::-1] for name, shape in sorted(parts.items())} | (
            {f"{name}_bias": (shape[0],) for name, shape in parts.items()} if layer.bias else {}
        )

    def expert(self, index: int) -> dict[str, ir.Value]:
        """Separate weights of one expert."""
        return {
            name: self.weight(f"{self.prefix}.experts.{index}.{name}", *shape)
            for name, shape in self.shapes().items()
        }

    def stacks(self) -> dict[str, ir.Value]:
        """The weights of all experts."""
        return {
            name: self.weight(f"{self.prefix}.experts.{name}", self.layer.experts, *shape)
            for name, shape in self.shapes().items()
        }

    @property
    def order(self) -> Sequence[int]:
        return self.layer.order or range(self.layer.experts)
