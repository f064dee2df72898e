"""Experts whose weights are chosen from stacks while the model runs: for every row, or one by one in a Loop.

    ids = Reshape(top_k_index, [-1]),  rows = x repeated K times
    y   = sum over K of expert(rows, Gather(gate_up, ids), Gather(down, ids)) * top_k_weight

The first form is what `torch.onnx.export` writes of transformers' `batched_mm`.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from hetc.passes.spellings.products import Product
from hetc.passes.spellings.spelling import FoundLayer, MismatchError
from hetc.passes.spellings.tried.expert_form import ExpertProducts
from hetc.passes.spellings.tried.routed import Routed, layers, routed
from hetc.passes.spellings.tried.trial import try_layer

__all__ = ["NAME", "anchors", "recognise"]

NAME = "weights chosen from stacks"


def anchors(graph: ir.Graph) -> Iterator[ir.Node]:
    """Every router after which weights are chosen."""
    yield from layers(graph, _chosen)


def recognise(node: ir.Node) -> FoundLayer:
    """The layer of a router.

    Raises:
        MismatchError: Its weights aren't gate and up (or up alone) and down, or it computes something else.
    """
    found = routed(node)
    products = _chosen(found)
    counts = {product.weight.count() for product in products}
    if len(products) not in (2, 3) or len(counts) != 1:
        raise MismatchError(f"{len(products)} stacks of weights instead of gate, up and down", node)
    *ups, down = products
    experts = [ExpertProducts(tuple(ups), down, index) for index in range(counts.pop())]
    return try_layer(found, [experts])


def _chosen(found: Routed) -> list[Product]:
    return [product for product in found.products if product.weight.index is not None]
