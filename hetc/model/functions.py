"""What a model's own functions grow to when they are inlined, as every runtime and pass does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

import onnx

from hetc.base.errors import InvalidInputError

__all__ = ["MOST_NODES", "check_functions"]

MOST_NODES = 1 << 22
"""More nodes than this no runtime opens in sensible time."""

_Identifier = tuple[str, str, str]


def check_functions(proto: onnx.ModelProto, where: str) -> None:
    """Refuses functions that call themselves, and those that grow beyond `MOST_NODES` nodes.

    Args:
        proto: The model as it was read.
        where: How messages call it.

    Raises:
        InvalidInputError: Names the function.
    """
    calls = {(one.domain, one.name, one.overload): _calls(one.node) for one in proto.functions}
    try:
        order = list(TopologicalSorter({name: calls[name].keys() & calls for name in calls}).static_order())
    except CycleError as error:
        names = " -> ".join("::".join(name[:2]) for name in error.args[1])
        raise InvalidInputError(f"{where}: its functions call each other in a circle: {names}") from error
    sizes: dict[_Identifier, int] = {}
    for name in order:
        sizes[name] = _size(calls[name], sizes)
        if sizes[name] > MOST_NODES:
            raise InvalidInputError(
                f"{where}: function {name[0]}::{name[1]} grows to {sizes[name]:,} nodes when what it calls "
                f"is put in its place; at most {MOST_NODES:,} are allowed"
            )
    if (total := _size(_calls(proto.graph.node), sizes)) > MOST_NODES:
        raise InvalidInputError(
            f"{where} grows to {total:,} nodes when its functions are put in their places; at most "
            f"{MOST_NODES:,} are allowed"
        )


def _size(calls: Counter[_Identifier], sizes: dict[_Identifier, int]) -> int:
    return sum(count * sizes.get(name, 1) for name, count in calls.items())


def _calls(nodes: Iterable[onnx.NodeProto]) -> Counter[_Identifier]:
    """How often each operator stands in nodes and their subgraphs."""
    found: Counter[_Identifier] = Counter()
    waiting = [nodes]
    while waiting:
        for node in waiting.pop():
            found[node.domain, node.op_type, node.overload] += 1
            for attribute in node.attribute:
                waiting += [graph.node for graph in [attribute.g, *attribute.graphs] if len(graph.node)]
    return found
