"""Finds matrix products with constant weights, which weight each has and how that is turned.

    y = MatMul(x, Transpose(Squeeze(Split(W)[3])))  ->  W, and the view of it that is multiplied

All spellings find their products here; `hetc.passes.spellings.linear` finds what is added to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from hetc.passes.analysis.weight_uses import turns_weight
from hetc.passes.spellings.spelling import MismatchError
from hetc.passes.spellings.weight_path import WeightPath, trace_constant, trace_weight

__all__ = ["Product", "find_products", "read_product", "subgraphs"]


@dataclass(frozen=True)
class Product:
    """A MatMul or Gemm with a constant weight.

    Attributes:
        node: The node.
        data: Its other operand.
        weight: Where the weight comes from.
        on_left: Whether the weight is the left operand.
        transposed: Whether Gemm turns the weight.
    """

    node: ir.Node
    data: ir.Value
    weight: WeightPath
    on_left: bool
    transposed: bool

    @property
    def turned(self) -> bool | None:
        """Whether the weight is a whole constant that is `[out, in]`; None where it is a part of one."""
        turned = self.weight.turned
        return None if turned is None else turned ^ self.transposed ^ self.on_left

    def matrix(self, expert: int = 0) -> NDArray[Any]:
        """The weight as `[in, out]`."""
        view = self.weight.view(expert)
        if view.ndim != 2:
            raise MismatchError(f"weight {self.weight.source.name!r} is no matrix here", self.node)
        return view.T if self.on_left or self.transposed else view


def find_products(nodes: Iterable[ir.Node]) -> Iterator[Product]:
    """Every product with weights among the nodes and in their subgraphs, on either side."""
    for node in nodes:
        product = read_product(node)
        if product is not None and not product.weight.is_weight:
            product = None
        # Of two constants, as an embedding and what projects it, the data is the one that is looked up.
        if product is None or product.weight.index is not None:
            product = _left_product(node) or product
        if product is not None:
            yield product
        for graph in subgraphs(node):
            yield from find_products(graph)


def read_product(node: ir.Node) -> Product | None:
    """The product of data and a constant of any kind, on its right, that a node is; None if it is no such."""
    turned = turns_weight(node) if node.domain == "" else None
    if turned is None:
        return None
    data, right = node.inputs[:2]
    weight = trace_constant(right)
    return None if data is None or weight is None else Product(node, data, weight, False, turned)


def _left_product(node: ir.Node) -> Product | None:
    """The product of a weight, on its left, and data that a MatMul is; None if it is no such."""
    if node.op_type != "MatMul" or node.domain != "":
        return None
    left, data = node.inputs[:2]
    weight = trace_weight(left)
    return None if data is None or weight is None else Product(node, data, weight, True, False)


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The bodies of an If, Loop or Scan."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
