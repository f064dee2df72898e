"""Experts that are products of their own, in the graph or in branches, each with its own part of the weights.

    y = sum over e of combine(expert_e(rows_e)),    expert_e: gate, up and down, or up and down

Which rows an expert sees (all of them, `NonZero` of a mask, a piece of the rows sorted by expert, those that
reach an `If`), and how its result gets its weight and its place (a mask, `ScatterND`, `ScatterElements`,
`Concat` and a permutation), is tried out, not matched.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress

import onnx_ir as ir

from hetc.passes.spellings.products import Product
from hetc.passes.spellings.spelling import FoundLayer, MismatchError
from hetc.passes.spellings.tried.expert_form import ExpertProducts
from hetc.passes.spellings.tried.graph_walk import walk
from hetc.passes.spellings.tried.region import Region
from hetc.passes.spellings.tried.routed import Routed, layers, routed
from hetc.passes.spellings.tried.trial import try_layer

__all__ = ["NAME", "anchors", "recognise"]

NAME = "one subgraph for each expert"


def anchors(graph: ir.Graph) -> Iterator[ir.Node]:
    """Every router with several experts that are alike."""
    yield from layers(graph, _alike)


def recognise(node: ir.Node) -> FoundLayer:
    """The layer of a router.

    Raises:
        MismatchError: It computes something else.
    """
    found = routed(node)
    experts = _alike(found)
    if not experts:
        raise MismatchError("no experts that are alike", node)
    return try_layer(found, [*_orders(experts, found.region.graph)])


def _alike(found: Routed) -> list[ExpertProducts]:
    """The experts of one shape, as many as the router has scores, or the most, less shared ones."""
    chosen = found.region.descendants([*found.router.outputs, found.index])
    shapes: dict[tuple[object, ...], list[ExpertProducts]] = defaultdict(list)
    products = [product for product in found.products if _is_single(product)]
    for expert in _experts(products, found.region):
        with suppress(MismatchError):  # a weight that is no matrix is no expert's
            if _is_shared(expert, found.region, chosen):
                continue
            shapes[tuple(product.matrix().shape for product in (*expert.ups, expert.down))].append(expert)
    scores = found.region.sources[1]
    count = scores.shape[-1] if scores.shape else None
    alike = [experts for experts in shapes.values() if len(experts) > 1]
    return max(alike, key=lambda experts: (len(experts) == count, len(experts)), default=[])


def _is_single(product: Product) -> bool:
    """Whether a product is that of one matrix."""
    with suppress(MismatchError):
        return product.weight.index is None and not product.is_stacked
    return False


def _is_shared(expert: ExpertProducts, region: Region, chosen: Set[ir.Value]) -> bool:
    """Whether an expert's result is added to what the router has chosen without being chosen itself."""
    waiting = [expert.down.node]
    seen = {expert.down.node}
    for node in waiting:
        if not region.holds(node):
            continue
        if any(value in chosen for value in region.outermost(node).outputs):
            if node.op_type not in ("Add", "Sum"):
                return False
            continue
        users = {user for output in node.outputs for user in output.consumers()} - seen
        seen |= users
        waiting += users
    return True


def _experts(products: Sequence[Product], region: Region) -> Iterator[ExpertProducts]:
    """Products that read other products, together with those."""
    made = {product.node: product for product in products}
    for product in products:
        before = _before(product.data, made, region)
        if len(before) in (1, 2) and not any(_before(made[node].data, made, region) for node in before):
            yield ExpertProducts(tuple(made[node] for node in before), product)


def _before(value: ir.Value | None, made: dict[ir.Node, Product], region: Region) -> list[ir.Node]:
    """The nearest products of a region that a value is made of, at most three, in the order of operands."""
    found: dict[ir.Node, None] = {}
    seen: set[ir.Value] = set()
    waiting = [value]
    while waiting and len(found) < 3:
        value = waiting.pop()
        node = value.producer() if value is not None else None
        if value is None or value in seen or node is None or not region.holds(node):
            continue
        seen.add(value)
        if node in made:
            found[node] = None
        else:
            waiting += reversed(node.inputs)
    return list(found)


def _orders(experts: list[ExpertProducts], graph: ir.Graph) -> Iterator[list[ExpertProducts]]:
    """By number in the name of the weight or place in a stack, and as they stand in the graph."""
    yield sorted(experts, key=lambda e: (_padded(e.down.weight.source.name), e.down.weight.offset()))
    yield sorted(experts, key=lambda e: walk(graph, e.down.node).places[e.down.node])


def _padded(name: str | None) -> str:
    """Such that names sort by the numbers in them."""
    return re.sub(r"\d+", lambda number: number[0].zfill(9), name or "")
