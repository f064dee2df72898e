"""Names the layers that are raised: `layers.3`, after the names of their weights and nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import onnx_ir as ir

from hetc.operators.schemas import DOMAIN
from hetc.passes.spellings.spelling import FoundLayer

__all__ = ["layer_number", "names_before", "new_layer_name", "numbers_of_layers"]

LAYER_NUMBER = re.compile(r"(?:^|[./_])(?:layers?|blocks?|h)[._](\d+)(?=[./_]|$)")
"""How names of weights and nodes number the layers of a model."""

NODES_SEARCHED = 64
"""How many nodes before a layer may tell its number."""


def numbers_of_layers(graph: ir.Graph) -> set[int]:
    """The numbers of the canonical layers of a graph."""
    names = (node.name or "" for node in graph if node.domain == DOMAIN)
    return {int(match[1]) for name in names if (match := re.match(r"layers\.(\d+)\.", name))}


def new_layer_name(taken: set[int], anchor: ir.Node, found: FoundLayer) -> str:
    """`layers.3` after the weights or nodes, else the next number that no layer has; it is taken then."""
    tensors = [value.const_value for value in found.experts[0].inputs if value is not None]
    number = layer_number([*(tensor.name for tensor in tensors if tensor), *names_before(anchor)])
    if number is None or number in taken:
        number = max(taken, default=-1) + 1
    taken.add(number)
    return f"layers.{number}"


def names_before(node: ir.Node) -> Iterator[str | None]:
    """Names of the node, what it reads, what made that, and so on: the nearest first."""
    seen, waiting = {node}, [node]
    for part in waiting:
        yield part.name
        for value in part.inputs:
            if value is None:
                continue
            yield value.name
            producer = value.producer()
            if producer is not None and producer not in seen and len(waiting) < NODES_SEARCHED:
                seen.add(producer)
                waiting.append(producer)


def layer_number(names: Iterable[str | None]) -> int | None:
    for name in names:
        if match := LAYER_NUMBER.search(name or ""):
            return int(match[1])
    return None
