"""Finds routers, the tokens that they look at, and the products with constant weights that depend on both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import onnx_ir as ir

from hetc.operators.schemas import DOMAIN, EXPERT_OPERATORS
from hetc.passes.spellings.constants import constant_tensor
from hetc.passes.spellings.products import Product, find_products
from hetc.passes.spellings.spelling import MismatchError
from hetc.passes.spellings.tried.graph_walk import walk
from hetc.passes.spellings.tried.region import CHOICES, PRODUCTS, Region

__all__ = ["Routed", "layers", "routed"]

SAME_ROWS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Expand", "Tile", "Transpose")
LONGEST_WAY = 24
"""Nodes between a router's scores and the tokens that it looks at."""


@dataclass(frozen=True)
class Routed:
    """A router, and what may be the experts that it chooses.

    Attributes:
        router: The TopK or ArgMax; the first of several whose choices are joined.
        index: The experts that it chose, or that they chose together.
        region: What depends on tokens and scores, its sources in this order.
        scoring: What depends on the tokens alone: what the scores are computed in.
        products: Products with constant weights in the region, less the router's own.
    """

    router: ir.Node
    index: ir.Value
    region: Region
    scoring: Region
    products: tuple[Product, ...]


def layers(graph: ir.Graph, experts: Callable[[Routed], Sequence[object]]) -> Iterator[ir.Node]:
    """Routers whose layers have some `experts`; of several routers with the same experts, the last one.

    Args:
        graph: The graph.
        experts: What of a layer is of the caller's spelling; empty if nothing.
    """
    last: dict[frozenset[ir.Node], ir.Node] = {}
    for node in graph:
        if node.domain or node.op_type not in CHOICES or _is_canonical(node):
            continue
        if found := _find_routed(node):
            with suppress(MismatchError):  # which recognising it will say
                if not experts(found):
                    continue
            # Routers that choose groups of experts first depend on the same products.
            last[frozenset(product.node for product in found.products)] = found.router
    yield from last.values()


def _is_canonical(router: ir.Node) -> bool:
    """Whether a choice, or what sorts one, leads to experts that are nodes of their own: nothing to raise."""
    ways = list(router.outputs)
    seen = set(ways)
    for value in ways:
        for user in value.consumers():
            if user.domain == DOMAIN:
                return user.op_type in EXPERT_OPERATORS
            if user.op_type not in PRODUCTS:
                ways += [output for output in user.outputs if output not in seen]
                seen.update(user.outputs)
    return False


def routed(router: ir.Node) -> Routed:
    """What is computed of a router's scores and of the tokens that they were made of.

    Raises:
        MismatchError: No products with constant weights are.
    """
    found = _find_routed(router)
    if found is None:
        raise MismatchError("no product with a constant weight depends on its tokens and scores", router)
    return found


def _find_routed(router: ir.Node) -> Routed | None:
    router, index = _joined(router)
    graph, scores = router.graph, router.inputs[0]
    if not isinstance(graph, ir.Graph) or scores is None or _chooser(scores) is not None:
        return None  # what sorts a choice is no router
    for tokens in _tokens(scores):
        region, scoring = Region(graph, [tokens, scores], router), Region(graph, [tokens], router)
        own = region.ancestors(index) | scoring.ancestors(scores)
        products = tuple(p for p in find_products(region.nodes) if region.outermost(p.node) not in own)
        if products:
            return Routed(router, index, region, scoring, products)
    return None


def _joined(router: ir.Node) -> tuple[ir.Node, ir.Value]:
    """The first of the routers whose choices are joined with this one's, and all that they chose.

    Sparse mixers choose the best expert, then the best of the others.
    """
    ways = [router.outputs[-1]]
    for value in ways:
        for user in value.consumers():
            if user.op_type == "Concat" and (first := _chooser(user.outputs[0])):
                return first, user.outputs[0]
            if user.op_type in (*SAME_ROWS, "Cast") and user.inputs[0] is value:
                ways += user.outputs
    return router, router.outputs[-1]


def _chooser(value: ir.Value | None) -> ir.Node | None:
    """The router whose choice a value is, the first in the graph of several whose choices are joined."""
    node = None if value is None else value.producer()
    if value is None or node is None:
        return None
    if node.op_type in (*SAME_ROWS, "Cast"):
        return _chooser(node.inputs[0])
    if node.op_type == "Concat":
        choosers = [chooser for part in node.inputs if (chooser := _chooser(part))]
        places = walk(graph, node).places if isinstance(graph := node.graph, ir.Graph) else {}
        known = len(choosers) == len(node.inputs) and all(chooser in places for chooser in choosers)
        return min(choosers, key=places.__getitem__) if known else None
    return node if node.op_type in CHOICES and value is node.outputs[-1] else None


def _tokens(scores: ir.Value) -> Iterator[ir.Value]:
    """What the scores are products of: the first product backwards, then what that was made of."""
    way: list[ir.Value] = [scores]
    for value in way:
        node = value.producer()
        if node is None or len(way) > LONGEST_WAY:
            continue
        if node.op_type in PRODUCTS:
            found = next(find_products([node]), None)
            if found is not None:
                yield from _backwards(found.data)
                return
        way += [value for value in node.inputs if value is not None]


def _backwards(value: ir.Value) -> Iterator[ir.Value]:
    """The tokens before they were laid out in rows, then what a norm of the router's own was made of.

    Not further than a sum of what other layers have made.
    """
    for _ in range(LONGEST_WAY):
        node = value.producer()
        while node is not None and node.op_type in SAME_ROWS and node.inputs[0] is not None:
            value = node.inputs[0]
            node = value.producer()
        yield value
        if node is None or not node.inputs or node.inputs[0] is None:
            return
        if node.op_type in ("Add", "Sum") and all(constant_tensor(part) is None for part in node.inputs):
            return
        value = max((v for v in node.inputs if v is not None), key=lambda v: len(v.shape or ()))
