"""Which unit each weight outside the experts belongs to: by names first, then by what its products feed.

A weight's own name says it best; exporters that fold constants rename weights (`val_155`, `onnx::MatMul_12`),
but keep the names of nodes, or their scopes as metadata. Where no name speaks, the graph's structure does
(`hetc.passes.analysis.product_roles`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

import onnx_ir as ir

from hetc.model.weights import FLOATS
from hetc.passes.analysis.product_roles import structural_roles
from hetc.passes.analysis.weight_uses import Product, bias_of, products_of
from hetc.plan.weight_roles import WeightRole, unit_of_scope, unit_of_weight
from hetc.plan.words import Kind

__all__ = ["UnitKey", "unit_weights"]

UnitKey = tuple[Kind, "int | None"]
"""Kind and layer: all that tells units apart that aren't experts."""

SCOPES = ("pkg.torch.onnx.name_scopes", "namespace")
"""Metadata in which PyTorch's exporter says which module a node comes from, the outermost first."""


def unit_weights(model: ir.Model) -> dict[UnitKey, list[tuple[str, ir.Value]]]:
    """Weights and biases of everything but experts, as {unit: [(projection, initializer)]}.

    A tied LM head is the embedding's tensor in a product: it counts once, as the LM head.
    """
    weights = {value: _products(value) for value in _weights(model)}
    roles = {value: role for value in weights if (role := unit_of_weight(value.name or "")) is not None}
    for value, products in weights.items():
        if value not in roles and (role := _role_by_nodes(products)) is not None:
            roles[value] = role
    products = [product for value, found in weights.items() for product in found if _is_matrix(value)]
    for value, role in structural_roles(model.graph, products, roles).items():
        roles.setdefault(value, role)
    _add_biases(weights, roles)
    groups: dict[UnitKey, list[tuple[str, ir.Value]]] = defaultdict(list)
    for value in weights:
        if value in roles:
            role = roles[value]
            groups[role.kind, role.layer].append((role.projection, value))
    _untie(groups, weights)
    return groups


def _weights(model: ir.Model) -> Iterator[ir.Value]:
    return (value for value in model.graph.initializers.values() if value.dtype in FLOATS)


def _products(value: ir.Value) -> list[Product]:
    return list(products_of(value))


def _is_matrix(value: ir.Value) -> bool:
    """Whether it is a matrix of more than a row or column, such as the frequencies of rotary positions."""
    return value.shape is not None and len(value.shape) == 2 and 1 not in value.shape.dims[:1]


def _role_by_nodes(products: list[Product]) -> WeightRole | None:
    """What the names of the nodes that multiply by a weight, and their scopes, say of it."""
    for product in products:
        for name in _names(product.node):
            if (role := unit_of_scope(name)) is not None:
                return role
    return None


def _names(node: ir.Node) -> Iterator[str]:
    yield node.name or ""
    for key in SCOPES:
        yield from reversed(re.split(r"[^\w.]+", node.metadata_props.get(key, "")))
    yield from (output.name or "" for output in node.outputs)


def _add_biases(weights: Mapping[ir.Value, list[Product]], roles: dict[ir.Value, WeightRole]) -> None:
    """What is added to a unit's product is the unit's."""
    for value, products in weights.items():
        for product in products:
            bias = bias_of(product) if value in roles else None
            if bias is not None and bias in weights:
                roles.setdefault(bias, roles[value])


def _untie(
    groups: dict[UnitKey, list[tuple[str, ir.Value]]], weights: Mapping[ir.Value, list[Product]]
) -> None:
    if ("lm_head", None) in groups:
        return
    for _, value in groups.get(("embedding", None), []):
        if weights[value]:
            groups["lm_head", None] = [("lm_head", value)]
            del groups["embedding", None]
            return
