"""Experts that all compute all tokens, in one product with the weights of all of them.

    h = act(Einsum("th,ehi->tei", x, W))      or MatMul(x [1, T, H], W [E, H, I])
    y = Einsum("te,tei,eih->th", weight, h, V)

The weights of experts that a token didn't choose are 0. How they are applied and summed is tried out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import onnx_ir as ir

from hetc.passes.spellings.products import Product
from hetc.passes.spellings.spelling import FoundLayer, MismatchError
from hetc.passes.spellings.tried.expert_form import ExpertProducts
from hetc.passes.spellings.tried.region import PRODUCTS, Region
from hetc.passes.spellings.tried.routed import Routed, layers, routed
from hetc.passes.spellings.tried.trial import try_layer

__all__ = ["NAME", "anchors", "recognise"]

NAME = "all experts at once"


def anchors(graph: ir.Graph) -> Iterator[ir.Node]:
    """Every router with two or three products with stacks of weights."""
    yield from layers(graph, _stacks)


def recognise(node: ir.Node) -> FoundLayer:
    """The layer of a router.

    Raises:
        MismatchError: It computes something else.
    """
    found = routed(node)
    stacks = _stacks(found)
    if not stacks:
        raise MismatchError("no two or three stacks of as many weights", node)
    *ups, down = stacks
    return try_layer(found, [[ExpertProducts(tuple(ups), down, index) for index in range(down.count)]])


def _stacks(found: Routed) -> list[Product]:
    """Two or three products with as many weights each, the last one of what the others make; else none."""
    stacks = []
    for product in found.products:
        with suppress(MismatchError):  # its weight isn't a stack
            if product.is_stacked:
                stacks.append(product)
    if len(stacks) not in (2, 3) or len({product.count for product in stacks}) != 1:
        return []
    *ups, down = stacks
    return stacks if _follows(down, ups, found.region) else []


def _follows(down: Product, ups: Sequence[Product], region: Region) -> bool:
    """Whether a product reads what the others make, with no further product between: that is no expert."""
    reached: set[ir.Node] = set()
    waiting: list[ir.Value | None] = [down.data]
    for value in waiting:
        node = None if value is None else value.producer()
        if node is None or node in reached or not region.holds(node):
            continue
        reached.add(node)
        if not any(node is up.node for up in ups):
            if node.op_type in PRODUCTS:
                return False
            waiting += node.inputs
    return all(up.node in reached for up in ups)
