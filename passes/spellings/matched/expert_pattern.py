"""Reads one expert backwards from its output: products with constants, and elementwise nodes between them.

y = MatMul(f(MatMul(x, gate), MatMul(x, up)), down)        f of one product for an expert without gate
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from hetc.passes.canonical.canonical_layer import ExpertWeights
from hetc.passes.spellings.constants import constant_tensor
from hetc.passes.spellings.initializers import weight
from hetc.passes.spellings.linear import read_linear
from hetc.passes.spellings.matched.activation_probe import read_activation
from hetc.passes.spellings.spelling import MismatchError
from hetc.passes.spellings.weight_path import trace_whole

__all__ = ["ExpertPattern", "match_expert"]

ELEMENTWISE = {
    *("Abs", "Add", "Cast", "CastLike", "Clip", "Div", "Elu", "Erf", "Exp", "FastGelu", "Gelu"),
    *("HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Max", "Softplus"),
    *("Min", "Mul", "Neg", "Pow", "QuickGelu", "Relu", "Sigmoid", "Sqrt", "Sub", "Swish", "Tanh"),
}


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
class _Projection:
    """A product of x with a whole initializer, and its bias."""

    x: ir.Value
    weight: ir.Value
    transposed: bool
    bias: ir.Value | None
    outputs: int


def match_expert(output: ir.Value, user: ir.Node) -> ExpertPattern:
    """The expert whose output this is.

    Args:
        output: `[..., H]`.
        user: The node that reads it, for messages.

    Raises:
        MismatchError: It isn't one; names the first node that doesn't fit.
    """
    down = _projection(output)
    if down is None:
        raise MismatchError(
            f"{output.name!r} is not a product with a constant weight", output.producer() or user
        )
    found: dict[ir.Value, _Projection] = {}
    between: list[ir.Node] = []
    _walk_back(down.x, output.producer() or user, found, between)
    node = down.x.producer() or user
    if len({projection.x for projection in found.values()}) != 1 or len(found) > 2:
        raise MismatchError(f"an expert has {len(found)} products of {down.x.name!r}, not gate and up", node)
    reading = read_activation(between, list(found), down.x, down.weight.dtype, node)
    ups = [list(found.values())[index] for index in reading.order]
    up, gate = ups[-1], ups[0] if len(ups) == 2 else None
    if len({projection.transposed for projection in (*ups, down)}) > 1:
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
    value: ir.Value, user: ir.Node, found: dict[ir.Value, _Projection], between: list[ir.Node]
) -> None:
    """Collects the products that `value` is computed from, and the elementwise nodes in order of use."""
    if value in found or constant_tensor(value) is not None:
        return
    projection = _projection(value)
    if projection is not None:
        found[value] = projection
        return
    node = value.producer()
    if node is None or node.op_type not in ELEMENTWISE or node.domain not in ("", "com.microsoft"):
        what = "an input" if node is None else f"a {node.op_type}"
        raise MismatchError(f"{what} stands between the products of an expert", node or user)
    if node in between:
        return
    for source in node.inputs:
        if source is not None:
            _walk_back(source, node, found, between)
    between.append(node)


def _projection(value: ir.Value) -> _Projection | None:
    """The product that `value` is, with its bias; None for anything else, and for parts of weights.

    Raises:
        MismatchError: It is one, of what can't be a weight or a bias.
    """
    linear = read_linear(value)
    if linear is None or linear.product.turned is None:
        return None
    source, transposed = linear.product.weight.source, linear.product.turned
    if len(source.shape or ()) != 2:
        return None
    matrix = weight(source, linear.product.node)
    assert matrix.const_value is not None
    outputs = matrix.const_value.shape.numpy()[0 if transposed else 1]
    bias = None
    if linear.bias is not None:
        path = trace_whole(linear.bias)
        bias = weight(None if path is None else path.source, linear.added_by)
        if bias.shape != [outputs]:
            raise MismatchError(f"bias {bias.name!r} is {bias.shape}, not [{outputs}]", linear.added_by)
    return _Projection(linear.product.data, matrix, transposed, bias, outputs)
