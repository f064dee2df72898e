"""Cuts a lowered graph into partitions: nodes of one target that run as one model.

Digital partitions have even stages and analog ones odd stages; a node's stage is the smallest of its
target's parity that no producer exceeds. Stages never fall along an edge, so no path leaves a partition and
comes back, and all analog units that wait for the same producer share one. The graph isn't changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from hetc.plan.plan import Partition
from hetc.plan.words import Target

__all__ = ["ANALOG_OPERATORS", "cut_partitions", "describe_partitions", "read_values", "stages", "target_of"]

ANALOG_OPERATORS = ("AnalogExpert", "AnalogMatMul")


def target_of(node: ir.Node) -> Target:
    """`analog` for the analog operators, else `digital`."""
    return "analog" if node.domain == "hetc" and node.op_type in ANALOG_OPERATORS else "digital"


def stages(graph: ir.Graph) -> dict[ir.Node, int]:
    """The stage of every node; `graph` is sorted topologically, as ONNX demands."""
    stage: dict[ir.Node, int] = {}
    for node in graph:
        latest = max((stage[producer] for producer in _producers(node) if producer in stage), default=0)
        parity = target_of(node) == "analog"
        stage[node] = latest + (latest % 2 != parity)
    return stage


def cut_partitions(
    model: ir.Model, unit_of: Mapping[str, str]
) -> tuple[tuple[Partition, ...], dict[str, int]]:
    """The partitions in execution order, and the partition index of every node by name.

    Args:
        model: The lowered model.
        unit_of: Unit ids by node name; nodes outside of units may be missing.
    """
    stage = stages(model.graph)
    index = {number: position for position, number in enumerate(sorted(set(stage.values())))}
    members: list[list[ir.Node]] = [[] for _ in index]
    for node, number in stage.items():
        members[index[number]].append(node)
    return (
        describe_partitions(members, unit_of),
        {node.name or "": index[number] for node, number in stage.items()},
    )


def describe_partitions(
    members: Sequence[Sequence[ir.Node]], unit_of: Mapping[str, str]
) -> tuple[Partition, ...]:
    """What each group of nodes is as a partition, and which tensors cross between the groups.

    Args:
        members: The nodes of each partition, in execution order; together all nodes of the graph.
        unit_of: Unit ids by node name; nodes outside of units may be missing.
    """
    readers: dict[ir.Value, set[int]] = defaultdict(set)
    for position, nodes in enumerate(members):
        for node in nodes:
            for value in read_values(node):
                readers[value].add(position)
    return tuple(_describe(position, nodes, readers, unit_of) for position, nodes in enumerate(members))


def _describe(
    position: int, nodes: Sequence[ir.Node], readers: Mapping[ir.Value, set[int]], unit_of: Mapping[str, str]
) -> Partition:
    made = dict.fromkeys(value for node in nodes for value in node.outputs)
    read = dict.fromkeys(value for node in nodes for value in read_values(node))
    return Partition(
        index=position,
        target=target_of(nodes[0]),
        nodes=len(nodes),
        units=tuple(dict.fromkeys(unit_of[name] for n in nodes if (name := n.name or "") in unit_of)),
        inputs=tuple(v.name or "" for v in read if not v.is_initializer() and v not in made),
        outputs=tuple(
            v.name or "" for v in made if v.is_graph_output() or readers.get(v, set()) - {position}
        ),
    )


def read_values(node: ir.Node) -> Iterator[ir.Value]:
    """Everything that a node reads, values captured by its subgraphs included."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        graphs: tuple[ir.Graph, ...] = ()
        if attribute.type == ir.AttributeType.GRAPH:
            graphs = (attribute.as_graph(),)
        elif attribute.type == ir.AttributeType.GRAPHS:
            graphs = tuple(attribute.as_graphs())
        for graph in graphs:
            own = set(graph.inputs) | {value for inner in graph for value in inner.outputs}
            own |= set(graph.initializers.values())
            for inner in graph:
                yield from (value for value in read_values(inner) if value not in own)
            yield from (value for value in graph.outputs if value not in own)


def _producers(node: ir.Node) -> Iterator[ir.Node]:
    for value in read_values(node):
        producer = value.producer()
        if producer is not None:
            yield producer
