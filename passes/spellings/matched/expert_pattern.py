"""Reads one expert backwards from its output: products with constants, and elementwise nodes between them.

    y = MatMul(f(MatMul(x, gate), MatMul(x, up)), down)        f of one product for an expert without gate

What f is isn't matched node by node, since exporters spell activations in many ways: its nodes are run on a
grid of numbers and compared with the activations that hetc knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from hetc.operators.activations import CLAMPED_SWISH
from hetc.passes.canonical.canonical_layer import ExpertWeights
from hetc.passes.spellings.constants import constant_tensor, small_constant, weight
from hetc.passes.spellings.spelling import MismatchError
from hetc.runtimes.reference.expert import activate

__all__ = ["ExpertPattern", "match_expert"]

ELEMENTWISE = {
    *("Abs", "Add", "Cast", "CastLike", "Clip", "Div", "Erf", "Exp", "FastGelu", "Gelu", "Identity", "Max"),
    *("Min", "Mul", "Neg", "Pow", "QuickGelu", "Relu", "Sigmoid", "Sqrt", "Sub", "Swish", "Tanh"),
}
HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu", "relu2")
TOLERANCE = 2e-5
"""Largest difference on the grid, relative to 1 + |value|; the two nearest, gelu and gelu_tanh, have 5e-4."""
TOLERANCE_16 = 1e-3
"""The same beside 16-bit weights, where the constants are rounded too; the nearest activation counts."""


@dataclass(frozen=True)
class ExpertPattern:
    """One expert.

    Attributes:
        x: What it reads.
        weights: Its constants.
        activation: A name in `hetc.operators.activations.ACTIVATIONS`.
        activation_attributes: What nodes with this activation have besides.
        transpose_weight: Whether its weights are `[out, in]`.
        hidden_size: Width of its output.
    """

    x: ir.Value
    weights: ExpertWeights
    activation: str
    activation_attributes: Mapping[str, float]
    transpose_weight: bool
    hidden_size: int


@dataclass(frozen=True)
class _Linear:
    """A product with a constant, and its bias: the result is `output`."""

    output: ir.Value
    x: ir.Value
    weight: ir.Value
    transposed: bool
    bias: ir.Value | None

    @property
    def outputs(self) -> int:
        """Width of the result."""
        shape = self.weight.const_value.shape.numpy()  # type: ignore[union-attr]
        return int(shape[0 if self.transposed else 1])


def match_expert(output: ir.Value, user: ir.Node) -> ExpertPattern:
    """The expert whose output this is.

    Args:
        output: `[..., H]`.
        user: The node that reads it, for messages.

    Raises:
        MismatchError: It isn't one; names the first node that doesn't fit.
    """
    down = _linear(output)
    if down is None:
        raise MismatchError(
            f"{output.name!r} is not a product with a constant weight", output.producer() or user
        )
    products: dict[ir.Value, _Linear] = {}
    between: list[ir.Node] = []
    _walk_back(down.x, output.producer() or user, products, between)
    node = down.x.producer() or user
    if len({linear.x for linear in products.values()}) != 1 or len(products) > 2:
        raise MismatchError(
            f"an expert has {len(products)} products of {down.x.name!r}, not gate and up", node
        )
    model = _as_model(between, list(products), down.x, node)
    tolerance = TOLERANCE_16 if down.weight.dtype in HALF else TOLERANCE
    reading = _recognise_activation(model, len(products), tolerance, node)
    linears = [list(products.values())[index] for index in reading.order]
    up, gate = linears[-1], linears[0] if len(linears) == 2 else None
    if len({linear.transposed for linear in (*linears, down)}) > 1:
        raise MismatchError("some of an expert's weights are [out, in] and some [in, out]", node)
    return ExpertPattern(
        x=up.x,
        weights=ExpertWeights(
            gate=None if gate is None else gate.weight,
            up=up.weight,
            down=down.weight,
            gate_bias=None if gate is None else gate.bias,
            up_bias=up.bias,
            down_bias=down.bias,
        ),
        activation=reading.activation,
        activation_attributes=dict(reading.attributes),
        transpose_weight=down.transposed,
        hidden_size=down.outputs,
    )


def _walk_back(
    value: ir.Value, user: ir.Node, products: dict[ir.Value, _Linear], between: list[ir.Node]
) -> None:
    """Collects the products that `value` is computed from, and the elementwise nodes in order of use."""
    if value in products or constant_tensor(value) is not None:
        return
    linear = _linear(value)
    if linear is not None:
        products[value] = linear
        return
    node = value.producer()
    if node is None or node.op_type not in ELEMENTWISE or node.domain not in ("", "com.microsoft"):
        what = "an input" if node is None else f"a {node.op_type}"
        raise MismatchError(f"{what} stands between the products of an expert", node or user)
    if node in between:
        return
    for source in node.inputs:
        if source is not None:
            _walk_back(source, node, products, between)
    between.append(node)


def _linear(value: ir.Value) -> _Linear | None:
    """The product that `value` is, with its bias; None if it is something else."""
    node = value.producer()
    if node is None or node.domain != "":
        return None
    if node.op_type == "Add":
        for product, bias in (node.inputs, reversed(node.inputs)):
            linear = None if product is None else _linear(product)
            tensor = _through(bias)[0]
            if linear is not None and linear.bias is None and tensor is not None:
                return replace(linear, output=value, bias=_bias(bias, linear, node))
        return None
    if node.op_type not in ("MatMul", "Gemm"):
        return None
    x, matrix, bias = [*node.inputs, None][:3]
    constant, transposed = _through(matrix)
    if x is None or constant is None or len(constant.shape or ()) != 2:
        return None
    if node.op_type == "Gemm":
        if node.attributes.get_int("transA", 0) or any(
            node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")
        ):
            return None
        transposed ^= bool(node.attributes.get_int("transB", 0))
    linear = _Linear(value, x, weight(constant, node), transposed, None)
    return linear if bias is None else replace(linear, bias=_bias(bias, linear, node))


def _bias(value: ir.Value | None, linear: _Linear, node: ir.Node) -> ir.Value:
    bias = weight(_through(value)[0], node)
    if bias.shape != [linear.outputs]:
        raise MismatchError(f"bias {bias.name!r} is {bias.shape}, not [{linear.outputs}]", node)
    return bias


def _through(value: ir.Value | None) -> tuple[ir.Value | None, bool]:
    """The constant behind Identity, Cast to float32 and Transpose, and whether it is turned; else None."""
    turned = False
    while value is not None and not value.is_initializer() and constant_tensor(value) is None:
        node = value.producer()
        if node is None or node.domain != "":
            return None, False
        if node.op_type == "Transpose":
            turned ^= list(node.attributes.get_ints("perm", (1, 0))) == [1, 0]
        elif not (
            node.op_type == "Identity"
            or (node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.FLOAT)
        ):
            return None, False
        value = node.inputs[0]
    return value, turned


def _as_model(nodes: list[ir.Node], inputs: list[ir.Value], output: ir.Value, node: ir.Node) -> bytes:
    """The nodes in float32, as a serialized model of `input0` and `input1`.

    Other experts' equal nodes give equal bytes.
    """
    names = {value: f"input{index}" for index, value in enumerate(inputs)}
    graph = onnx.GraphProto(name="activation")
    for part in nodes:
        for value in part.inputs:
            if value is not None and value not in names:
                number = small_constant(value)
                if number is None or number.size != 1:
                    raise MismatchError(f"{value.name!r} is not one number", part)
                names[value] = f"constant{len(names)}"
                wide = number if number.dtype.kind == "i" else number.astype(np.float32)
                graph.initializer.append(ir.to_proto(ir.tensor(np.array(wide), name=names[value])))
        for value in part.outputs:
            names[value] = f"value{len(names)}"
        proto = ir.to_proto(part)
        proto.name = ""
        del proto.input[:], proto.output[:], proto.metadata_props[:]
        proto.input.extend(names[value] if value is not None else "" for value in part.inputs)
        proto.output.extend(names[value] for value in part.outputs)
        for attribute in proto.attribute:
            if part.op_type == "Cast" and attribute.name == "to" and attribute.i in HALF:
                attribute.i = ir.DataType.FLOAT
        graph.node.append(proto)
    for value in inputs:
        graph.input.append(onnx.helper.make_tensor_value_info(names[value], ir.DataType.FLOAT, [None]))
    graph.output.append(onnx.ValueInfoProto(name=names[output]))
    assert node.graph is not None
    opsets = [onnx.helper.make_opsetid(*item) for item in sorted(node.graph.opset_imports.items())]
    serialized: bytes = onnx.helper.make_model(graph, ir_version=10, opset_imports=opsets).SerializeToString()
    return serialized


@dataclass(frozen=True, order=True)
class _Reading:
    """One activation that the nodes may be: how far off it is, and which inputs are gate and up."""

    error: float
    activation: str
    order: tuple[int, ...]
    attributes: tuple[tuple[str, float], ...] = ()


def _recognise_activation(model: bytes, products: int, tolerance: float, node: ir.Node) -> _Reading:
    """The activation that the model computes."""
    reading = _nearest_activation(model, products)
    if reading is None or reading.error > tolerance:
        known = ", ".join((*ACTIVATIONS, CLAMPED_SWISH))
        raise MismatchError(f"the activation is none of {known}", node, matched=2)
    return reading


@lru_cache(maxsize=64)
def _nearest_activation(model: bytes, products: int) -> _Reading | None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception:  # ONNX Runtime has many kinds, and all mean that it cannot run these nodes
        return None
    grids = list(_grids(products))
    (result,) = session.run(None, {f"input{index}": grid for index, grid in enumerate(grids)})

    def error(expected: NDArray[np.float32]) -> float:
        return float(np.max(np.abs(result - expected) / (1 + np.abs(expected))))

    readings = []
    for order in permutations(range(products)):
        gate, up = grids[order[0]], grids[order[-1]]
        for name in ACTIVATIONS:
            activated = activate(gate, name)
            readings.append(_Reading(error(activated * up if products == 2 else activated), name, order))
        if products == 2:
            for alpha, beta, limit in _clamps(model):
                bounded = np.minimum(gate, limit)
                swish = activate(alpha * bounded, "silu") / alpha
                expected = swish * (np.clip(up, -limit, limit) + beta)
                numbers = {"alpha": alpha, "beta": beta, "limit": limit}
                attributes = tuple((f"activation_{part}", float(value)) for part, value in numbers.items())
                readings.append(_Reading(error(expected), CLAMPED_SWISH, order, attributes))
    return min(readings)


def _clamps(model: bytes) -> Iterator[tuple[np.float32, np.float32, np.float32]]:
    """Every alpha, beta and limit that `clamped_swish` may have with the constants of the model."""
    constants = [onnx.numpy_helper.to_array(part) for part in onnx.load_from_string(model).graph.initializer]
    found = {np.float32(abs(part)) for part in constants if part.dtype == np.float32 and part != 0}
    for limit in sorted(found):
        for alpha in sorted(found | {np.float32(1)}):
            for beta in sorted(found | {np.float32(0)}):
                yield alpha, beta, limit


def _grids(count: int) -> Iterator[NDArray[np.float32]]:
    """Numbers from -12 to 12, each grid in another order; small ones lie closer."""
    spread = np.linspace(-1, 1, 4001, dtype=np.float32)
    for index in range(count):
        yield np.random.default_rng(index).permutation(12 * spread * np.abs(spread))
