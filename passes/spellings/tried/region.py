"""Finds the part of a graph that depends on a few values only: on a layer's tokens and its router's scores.

A node with subgraphs belongs to it as a whole, with all that these read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from hetc.passes.spellings.constants import constant_tensor
from hetc.passes.spellings.products import subgraphs
from hetc.passes.spellings.tried.graph_walk import walk

__all__ = ["CHOICES", "PRODUCTS", "Region"]

CHOICES = ("TopK", "ArgMax")
"""What chooses experts."""
PRODUCTS = ("MatMul", "Gemm", "Einsum")
"""What multiplies with weights."""

LONGEST_SHAPE_WAY = 12
"""Nodes between the shape of a value and where a layer reads what was computed of it."""


class Region:
    """What can be computed of `sources` and constants alone.

    It ends where another router chooses by what this one's experts have made: without that, the first of many
    layers would hold all others.

    Args:
        graph: The graph.
        sources: Values that are fed in.
        router: The layer's TopK or ArgMax.

    Attributes:
        nodes: The nodes of the region, each after those that it depends on.
    """

    def __init__(self, graph: ir.Graph, sources: Iterable[ir.Value], router: ir.Node) -> None:
        self.graph = graph
        self.sources = tuple(sources)
        self.nodes: list[ir.Node] = []
        self._available: set[ir.Value] = set(self.sources)
        chosen: set[ir.Value] = set()
        made: set[ir.Value] = set()  # by products of what was chosen
        waiting = list(reversed(self.sources))
        taken: set[ir.Node] = set()
        while waiting:
            for user in waiting.pop().consumers():
                node = self.outermost(user)
                if node in taken:
                    continue
                read = _reads(node)
                if not all(value in self._available or self._is_fixed(value) for value in read):
                    continue
                after = not made.isdisjoint(read)
                if after and node is not router and node.op_type in CHOICES:
                    continue
                if node is router or not chosen.isdisjoint(read):
                    chosen.update(node.outputs)
                    after |= any(part.op_type in PRODUCTS for part in _with_inner(node))
                if after:
                    made.update(node.outputs)
                taken.add(node)
                self.nodes.append(node)
                self._available.update(node.outputs)
                waiting += reversed(node.outputs)

    def _is_fixed(self, value: ir.Value, depth: int = LONGEST_SHAPE_WAY) -> bool:
        """Whether a value is made of constants and known shapes in a few nodes."""
        node = value.producer()
        if constant_tensor(value) is not None:
            return True
        if node is None or depth == 0:
            return False
        if node.op_type == "Shape" and _knows_shape(node.inputs[0]):
            return True
        return all(self._is_fixed(part, depth - 1) for part in _reads(node))

    def outermost(self, node: ir.Node) -> ir.Node:
        """The node of the graph itself that a node of a subgraph lies in."""
        while node.graph is not self.graph:
            node = walk(self.graph, node).owners[node.graph]  # type: ignore[index]
        return node

    def holds(self, node: ir.Node) -> bool:
        """Whether a node, of a subgraph too, belongs to the region."""
        return any(value in self._available for value in self.outermost(node).outputs)

    def is_shape_of_outside(self, node: ir.Node) -> bool:
        """Whether a node of the graph asks for the shape of a value that the region doesn't compute."""
        value = node.inputs[0] if node.op_type == "Shape" else None
        return node.graph is self.graph and value is not None and value not in self._available

    def every_node(self) -> Iterator[ir.Node]:
        """The nodes of the region and those of their subgraphs."""
        for node in self.nodes:
            yield from _with_inner(node)

    def ancestors(self, value: ir.Value) -> set[ir.Node]:
        """The nodes of the region that the value depends on."""
        found: set[ir.Node] = set()
        waiting = [value]
        while waiting:
            value = waiting.pop()
            node = value.producer()
            if value in self.sources or value not in self._available or node is None or node in found:
                continue
            found.add(node)
            waiting += _reads(node)
        return found

    def descendants(self, values: Iterable[ir.Value]) -> set[ir.Value]:
        """What the region computes from the values, in its graph."""
        reached = set(values)
        for node in self.nodes:
            if any(value in reached for value in _reads(node)):
                reached.update(node.outputs)
        return reached


def _with_inner(node: ir.Node) -> Iterator[ir.Node]:
    """A node and those of its subgraphs."""
    yield node
    for body in subgraphs(node):
        yield from ir.traversal.RecursiveGraphIterator(body)


def _reads(node: ir.Node) -> list[ir.Value]:
    """What a node and its subgraphs read of the graph that it is in."""
    values = [value for value in node.inputs if value is not None]
    for body in subgraphs(node):
        inner = set(body.inputs) | set(body.initializers.values())
        for part in body:
            inner.update(part.outputs)
            values += [value for value in _reads(part) if value not in inner]
        values += [value for value in body.outputs if value not in inner]
    return values


def _knows_shape(value: ir.Value | None) -> bool:
    return (
        value is not None
        and value.shape is not None
        and all(isinstance(size, int) or size.value is not None for size in value.shape)
    )
