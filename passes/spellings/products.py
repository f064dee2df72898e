"""Finds matrix products with constant weights, which weight each has and how that is turned.

    y = MatMul(x, Transpose(Squeeze(Split(W)[3])))  ->  W, and the view of it that is multiplied
    y = Einsum("th,ehi->tei", x, W)                 ->  W, and which of its axes counts experts

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

__all__ = ["Axes", "Product", "find_products", "read_product", "subgraphs"]


@dataclass(frozen=True)
class Axes:
    """What the axes of a weight are, as it is multiplied; all others have size 1.

    Attributes:
        inner: The axis that is summed over.
        outer: The one that the result has.
        expert: The one that counts the matrices of a stack; None for a single matrix.
    """

    inner: int
    outer: int
    expert: int | None

    def order(self, rank: int) -> tuple[int, ...]:
        """All axes of an array: experts, inner, outer, and those of size 1."""
        known = [axis for axis in (self.expert, self.inner, self.outer) if axis is not None]
        return (*known, *(axis for axis in range(rank) if axis not in known))


@dataclass(frozen=True)
class Product:
    """A MatMul, Gemm or Einsum with a constant weight.

    Attributes:
        node: The node.
        data: Its other operand.
        weight: Where the weight comes from.
        on_left: Whether the weight is the left operand.
        transposed: Whether Gemm turns the weight.
        letters: What an Einsum calls the weight's axes; None for other operators.
    """

    node: ir.Node
    data: ir.Value
    weight: WeightPath
    on_left: bool
    transposed: bool
    letters: Axes | None = None

    @property
    def axes(self) -> Axes:
        """What the axes of the weight are.

        Raises:
            MismatchError: It is neither a matrix nor a stack of them.
        """
        return self.letters or self._axes(self.weight.view())

    def _axes(self, view: NDArray[Any]) -> Axes:
        stacks = [axis for axis, size in enumerate(view.shape[:-2]) if size > 1]
        if view.ndim < 2 or len(stacks) > 1:
            raise MismatchError(f"weight {self.weight.source.name!r} is no matrix here", self.node)
        inner, outer = (-1, -2) if self.on_left or self.transposed else (-2, -1)
        return Axes(view.ndim + inner, view.ndim + outer, stacks[0] if stacks else None)

    @property
    def is_stacked(self) -> bool:
        """Whether the node multiplies with the matrices of all experts at once.

        Raises:
            MismatchError: The weight is neither a matrix nor a stack of them.
        """
        return self.weight.index is None and self.axes.expert is not None

    @property
    def count(self) -> int:
        """How many matrices there are: those of a stack, or that are chosen from while the model runs."""
        if self.weight.index is not None:
            return self.weight.count()
        expert = self.axes.expert
        return 1 if expert is None else self.weight.view().shape[expert]

    @property
    def turned(self) -> bool | None:
        """Whether the weight is a whole constant that is `[out, in]`; None where it is a part of one."""
        turned = self.weight.turned
        return None if turned is None else turned ^ self.transposed ^ self.on_left

    def matrix(self, expert: int = 0) -> NDArray[Any]:
        """The weight, of one expert where there are several, as `[in, out]`.

        Raises:
            MismatchError: It is neither a matrix nor a stack of them.
        """
        view = self.weight.view(expert)
        axes = self.letters or self._axes(view)
        ordered = view.transpose(axes.order(view.ndim))
        ordered = ordered if axes.expert is None else ordered[expert]
        matrix: NDArray[Any] = ordered.reshape(ordered.shape[:2])
        return matrix


def find_products(nodes: Iterable[ir.Node]) -> Iterator[Product]:
    """Every product with weights among the nodes and in their subgraphs, on either side."""
    for node in nodes:
        product = read_product(node) or _einsum_product(node)
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


def _einsum_product(node: ir.Node) -> Product | None:
    """The product of data and one matrix, or one stack of them, that an Einsum is; None if it is no such."""
    terms, arrow, result = node.attributes.get_string("equation", "").replace(" ", "").partition("->")
    if node.op_type != "Einsum" or node.domain != "" or not arrow:
        return None
    operands = terms.split(",")
    paths = {place: path for place, value in enumerate(node.inputs) if (path := trace_weight(value))}
    if len(paths) != 1 or len(operands) != len(node.inputs):
        return None
    ((place, path),) = paths.items()
    own, others = operands.pop(place), [value for n, value in enumerate(node.inputs) if n != place]
    summed = [letter for letter in own if letter not in result]
    made = [letter for letter in own if letter in result and not any(letter in term for term in operands)]
    stacks = [letter for letter in own if letter not in (*summed, *made)]
    if len(summed) == 2 and not stacks:  # a sum over experts, too, each with its weight
        stacks = [letter for letter in summed if sum(letter in term for term in operands) > 1]
        summed = [letter for letter in summed if letter not in stacks]
    if len(made) == 2 and not stacks:  # all experts have the same data; stacks count their matrices first
        stacks = [made.pop(0)]
    sources = [value for value, term in zip(others, operands, strict=True) if set(summed) & set(term)]
    counts = (len(summed), len(made), len(sources), len(set(own)))
    if counts != (1, 1, 1, len(own)) or len(stacks) > 1 or "." in own or sources[0] is None:
        return None
    letters = Axes(own.index(summed[0]), own.index(made[0]), own.index(stacks[0]) if stacks else None)
    return Product(node, sources[0], path, False, False, letters)


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The bodies of an If, Loop or Scan."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
