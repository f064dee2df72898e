"""Follows a weight to the matrix products that use it: `MatMul(x, Transpose(Cast(w)))`, `Gemm(x, w)`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

__all__ = ["Product", "products_of"]


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


def products_of(weight: ir.Value) -> Iterator[Product]:
    """The products whose right operand is `weight`, seen through Cast, Identity and Transpose.

    A Gemm counts only where it is a plain `x w (+ bias)`: alpha and beta 1, transA 0.
    """
    yield from _follow(weight, weight, transposed=False)


def _follow(value: ir.Value, weight: ir.Value, *, transposed: bool) -> Iterator[Product]:
    for node, index in value.uses():
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type in ("Cast", "Identity"):
            yield from _follow(node.outputs[0], weight, transposed=transposed)
        elif node.op_type == "Transpose" and _swaps_two_axes(node):
            yield from _follow(node.outputs[0], weight, transposed=not transposed)
        elif node.op_type == "MatMul" and index == 1:
            yield Product(node, weight, transposed)
        elif node.op_type == "Gemm" and index == 1 and _is_plain(node):
            yield Product(node, weight, transposed != bool(_attribute(node, "transB", 0)))


def _attribute(node: ir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.value


def _is_plain(node: ir.Node) -> bool:
    return (
        _attribute(node, "alpha", 1.0) == 1.0
        and _attribute(node, "beta", 1.0) == 1.0
        and not _attribute(node, "transA", 0)
    )


def _swaps_two_axes(node: ir.Node) -> bool:
    perm = node.attributes.get("perm")
    return perm is None or list(perm.as_ints()) == [1, 0]
