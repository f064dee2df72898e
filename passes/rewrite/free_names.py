"""Keeps names apart when nodes are added: a graph may have been raised, inlined and saved before."""

from __future__ import annotations

from collections.abc import Container, Iterable

import onnx_ir as ir

__all__ = ["FreeNames"]


class FreeNames:
    """The names that a graph uses, from one walk over it.

    Args:
        graph: The graph, with all subgraphs.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._values: set[str] = set()
        self._nodes: dict[str, ir.Node] = {}
        self._values.update(value.name or "" for value in graph.inputs)
        for one in (graph, *graph.subgraphs()):
            self._values.update(one.initializers)
        for node in ir.traversal.RecursiveGraphIterator(graph):
            self._values.update(value.name or "" for value in node.outputs)
            self._nodes[node.name or ""] = node

    def take(self, nodes: Iterable[ir.Node], values: Iterable[ir.Value]) -> None:
        """Makes the names of new nodes and values their own.

        New values give way. New nodes, experts among them, are known by their names: nodes that were there
        before give way to them.
        """
        nodes = list(nodes)
        for value in (*values, *(output for node in nodes for output in node.outputs)):
            value.name = _free(value.name or "", self._values)
            if value.const_value is not None:
                value.const_value.name = value.name
            self._values.add(value.name)
        for node in nodes:
            name = node.name or ""
            if (old := self._nodes.get(name)) is not None and old is not node:
                old.name = _free(name, self._nodes)
                self._nodes[old.name] = old
            self._nodes[name] = node


def _free(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "_"
    return name
