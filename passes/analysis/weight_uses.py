"""Follows a weight to the matrix products that use it: `MatMul(x, Transpose(Cast(w)))`, `Gemm(x, w)`.

`hetc.passes.spellings` goes the other way, from a product back to its weight. What a MatMul, Gemm or
Transpose does to a weight is said here, for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

__all__ = ["Product", "bias_of", "is_widened", "products_of", "swaps_two_axes", "turns_weight"]


@dataclass(frozen=True)
class Product:
    """One matrix product with a constant weight.

    Attributes:
        node: The MatMul or Gemm.
        weight: The initializer, before any Cast or Transpose.
        transposed: True where the initializer is `[outputs, inputs]`.
    """

    node: ir.Node
    weight: ir.Value
    transposed: bool

    @property
    def widths(self) -> tuple[int, int]:
        """Inputs and outputs of the product; the weight is a matrix."""
        assert self.weight.shape is not None
        first, second = self.weight.shape.numpy()
        return (second, first) if self.transposed else (first, second)


def products_of(weight: ir.Value) -> Iterator[Product]:
    """The products whose right operand is `weight`, seen through Cast, Identity and Transpose.

    A Gemm counts only where it is a plain `x w (+ bias)`: alpha and beta 1, transA 0.

    The walk itself is not shared with `hetc.passes.spellings.weight_path`, which goes the other way: it keeps
    the nodes that it passes, to cut experts out of stacks, where this one branches to many products of one
    matrix, never a part of it, and needs only to know whether that is turned.
    """
    yield from _follow(weight, weight, transposed=False)


def bias_of(product: Product) -> ir.Value | None:
    """The initializer that is added to a product, seen through Cast and Identity; None if there is none."""
    node = product.node
    if node.op_type == "Gemm":
        return _initializer(node.inputs[2]) if len(node.inputs) > 2 else None
    users = node.outputs[0].consumers()
    if len(users) != 1 or users[0].op_type != "Add":
        return None
    return next((one for value in users[0].inputs if (one := _initializer(value)) is not None), None)


def is_widened(product: Product) -> bool:
    """Whether the weight passes a Cast to float32 on its way to the product."""
    value = product.node.inputs[1]
    while value is not None and (node := value.producer()) is not None:
        if node.op_type == "Cast" and ir.DataType(node.attributes["to"].as_int()) == ir.DataType.FLOAT:
            return True
        value = node.inputs[0]
    return False


def turns_weight(node: ir.Node) -> bool | None:
    """Whether a product transposes its right operand; None for a node that is no plain `x w (+ bias)`."""
    if node.op_type == "MatMul":
        return False
    if node.op_type != "Gemm":
        return None
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    if any(_attribute(node, name, value) != value for name, value in plain.items()):
        return None
    return bool(_attribute(node, "transB", 0))


def swaps_two_axes(node: ir.Node) -> bool:
    """Whether a Transpose of a matrix turns it, and doesn't leave it as it is."""
    perm = node.attributes.get("perm")
    return perm is None or list(perm.as_ints()) == [1, 0]


def _follow(value: ir.Value, weight: ir.Value, *, transposed: bool) -> Iterator[Product]:
    for node, index in value.uses():
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type in ("Cast", "Identity"):
            yield from _follow(node.outputs[0], weight, transposed=transposed)
        elif node.op_type == "Transpose" and swaps_two_axes(node):
            yield from _follow(node.outputs[0], weight, transposed=not transposed)
        elif index == 1 and (turned := turns_weight(node)) is not None:
            yield Product(node, weight, transposed != turned)


def _attribute(node: ir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.value


def _initializer(value: ir.Value | None) -> ir.Value | None:
    while value is not None and not value.is_initializer():
        node = value.producer()
        value = node.inputs[0] if node is not None and node.op_type in ("Cast", "Identity") else None
    return value
