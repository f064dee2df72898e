"""Puts new nodes in the place of those that made a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

__all__ = ["replace_output"]


def replace_output(graph: ir.Graph, old: ir.Value, new: ir.Value, nodes: Sequence[ir.Node]) -> None:
    """Inserts the nodes, gives `new` the name and users of `old`, and removes what made only `old`."""
    producer = old.producer()
    assert producer is not None
    graph.insert_before(producer, nodes)
    name = old.name
    new.type, new.shape = old.type, old.shape
    new.metadata_props.update(old.metadata_props)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name, new.name = None, name
    _remove_unused(graph, producer)


def _remove_unused(graph: ir.Graph, node: ir.Node) -> None:
    """Removes the node if nothing reads it, then likewise what it alone read."""
    candidates = [node]
    while candidates:
        node = candidates.pop()
        if node.graph is not graph or any(out.uses() or out.is_graph_output() for out in node.outputs):
            continue
        read = _detach(node)
        graph.remove(node, safe=True)
        for value in read:
            producer = value.producer()
            if producer is not None:
                candidates.append(producer)
            elif (
                graph.initializers.get(value.name or "") is value
                and not value.uses()
                and not value.is_graph_output()
                and not value.is_graph_input()
            ):
                del graph.initializers[value.name or ""]


def _detach(node: ir.Node) -> list[ir.Value]:
    """Frees what the node and the nodes of its subgraphs read; returns it, in graph order."""
    read: dict[ir.Value, None] = {}
    inner = [part for subgraph in _subgraphs(node) for part in ir.traversal.RecursiveGraphIterator(subgraph)]
    for part in [node, *inner]:
        for index, value in enumerate(part.inputs):
            if value is not None:
                read[value] = None
                part.replace_input_with(index, None)
    return list(read)


def _subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()
