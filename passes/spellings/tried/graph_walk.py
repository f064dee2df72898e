"""What one walk over a graph tells, kept with the graph: a walk for each layer would be quadratic."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from hetc.passes.spellings.products import subgraphs

__all__ = ["GraphWalk", "walk"]

KEY = "hetc.graph_walk"


@dataclass(frozen=True)
class GraphWalk:
    """Attributes: the node that each subgraph belongs to, and where each node stands among all."""

    owners: dict[ir.Graph, ir.Node]
    places: dict[ir.Node, int]


def walk(graph: ir.Graph, node: ir.Node) -> GraphWalk:
    """The walk over a graph that came by a node; what was removed since then may still be in it."""
    known = graph.meta.get(KEY)
    if isinstance(known, GraphWalk) and node in known.places:
        return known
    nodes = list(ir.traversal.RecursiveGraphIterator(graph))
    owners = {inner: owner for owner in nodes for inner in subgraphs(owner)}
    graph.meta[KEY] = found = GraphWalk(owners, {node: place for place, node in enumerate(nodes)})
    return found
