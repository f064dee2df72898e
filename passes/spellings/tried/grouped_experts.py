"""Rows sorted by expert, one product for each expert and projection, and the activation on all rows at once.

    h = act(Concat(rows_0 @ W_0, rows_1 @ W_1, ...))
    y = Concat(h_0 @ V_0, h_1 @ V_1, ...), weighted, brought back into the order of tokens, summed

So transformers' exporter lowers `grouped_mm`: W_e and V_e are parts of stacks, and the place in the stack is
the expert.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import onnx_ir as ir

from hetc.passes.spellings.products import Product
from hetc.passes.spellings.spelling import FoundLayer, MismatchError
from hetc.passes.spellings.tried.expert_form import ExpertProducts
from hetc.passes.spellings.tried.routed import Routed, layers, routed
from hetc.passes.spellings.tried.trial import try_layer

__all__ = ["NAME", "anchors", "recognise"]

NAME = "grouped_mm"


def anchors(graph: ir.Graph) -> Iterator[ir.Node]:
    """Every router after which two or three stacks are multiplied, part by part, and joined again."""
    yield from layers(graph, _stacks)


def recognise(node: ir.Node) -> FoundLayer:
    """The layer of a router.

    Raises:
        MismatchError: It computes something else.
    """
    found = routed(node)
    stacks = _stacks(found)
    if not stacks:
        raise MismatchError("no stacks of weights that are multiplied part by part", node)
    *ups, down = stacks
    experts = [ExpertProducts(tuple(up[e] for up in ups), part, e) for e, part in enumerate(down)]
    return try_layer(found, [experts])


def _stacks(found: Routed) -> list[list[Product]]:
    """Products of the parts of each stack by their place in it, the stacks in the order of the graph."""
    stacks: dict[ir.Node, list[Product]] = defaultdict(list)
    for product in found.products:
        users = product.node.outputs[0].consumers()
        if product.weight.index is None and len(users) == 1 and users[0].op_type == "Concat":
            stacks[users[0]].append(product)
    if len(stacks) not in (2, 3) or len({len(parts) for parts in stacks.values()}) != 1:
        return []
    return [sorted(parts, key=lambda part: part.weight.offset()) for parts in stacks.values()]
