"""Which unit each weight outside the experts belongs to: by names first, then by what its products feed.

A weight's own name says it best; exporters that fold constants rename weights (`val_155`, `onnx::MatMul_12`),
but keep the names of nodes, or their scopes as metadata. Where no name speaks, the graph's structure does
(`hetc.passes.analysis.product_roles`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from hetc.model.external_tensors import tensor_values
from hetc.model.quantised_tensor import QuantisedTensor, constant_values
from hetc.model.weights import FLOATS
from hetc.passes.analysis.product_roles import structural_roles
from hetc.passes.analysis.weight_uses import Product, bias_of, products_of
from hetc.plan.weight_roles import WeightRole, encoder_layers, in_tower, unit_of_scope, unit_of_weight
from hetc.plan.words import Kind

__all__ = ["UnitKey", "UnitWeights", "tied_copy", "unit_weights"]

UnitKey = tuple[Kind, "int | None"]
"""Kind and layer: all that tells units apart that aren't experts."""
UnitWeights = dict[UnitKey, list[tuple[str, ir.Value]]]
"""Of each unit the projections and their initializers, in a checkpoint's order, or else the model's."""

EMBEDDING: UnitKey = ("embedding", None)
HEAD: UnitKey = ("lm_head", None)
CHECKPOINT_ORDER = (
    "q_a_proj",
    "q_b_proj",
    "q_proj",
    "kv_a_proj_with_mqa",
    "kv_b_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)
"""Projections as checkpoints list them."""
COMPARED = 16
"""Rows by which a copy of a table is recognised."""

SCOPES = ("pkg.torch.onnx.name_scopes", "namespace")
"""Metadata in which PyTorch's exporter says which module a node comes from, the outermost first."""


def unit_weights(model: ir.Model) -> UnitWeights:
    """Weights and biases of everything but experts.

    A tied LM head is the embedding's table in a product, or a copy of it: it counts once, as the LM head.
    """
    groups = _groups(model)
    tables = groups.get(EMBEDDING, [])
    if HEAD not in groups:
        for _, table in tables:
            if any(True for _ in products_of(table)):
                groups[HEAD] = [("lm_head", table)]
                del groups[EMBEDDING]
                break
    elif any(_is_copy(table, head) for _, table in tables for _, head in groups[HEAD]):
        del groups[EMBEDDING]
    return groups


def tied_copy(model: ir.Model) -> ir.Value | None:
    """The embedding's table where an exporter that folds constants wrote it again, turned, as the LM head."""
    groups = _groups(model)
    heads = [head for _, head in groups.get(HEAD, [])]
    copies = (table for _, table in groups.get(EMBEDDING, []) if any(_is_copy(table, head) for head in heads))
    return next(copies, None)


def _groups(model: ir.Model) -> UnitWeights:
    weights = {value: list(products_of(value)) for value in _weights(model)}
    if any(value.name == "input_ids" for value in model.graph.inputs):
        weights = {value: products for value, products in weights.items() if not _in_tower(value, products)}
    roles = {value: role for value in weights if (role := unit_of_weight(value.name or "")) is not None}
    for value, products in weights.items():
        if value in roles and roles[value].kind == "lm_head" and not products and _is_looked_up(value):
            roles[value] = WeightRole("embedding", None, "embed_tokens")  # a tied table, by its other name
        elif value not in roles and (role := _role_by_nodes(products)) is not None:
            roles[value] = role
    roles = _numbered_on(roles)
    matrices = [product for found in weights.values() for product in found if _is_matrix(product)]
    for value, role in structural_roles(model.graph, matrices, roles).items():
        roles.setdefault(value, role)
    _add_biases(weights, roles)
    groups: UnitWeights = defaultdict(list)
    for value in weights:
        if value in roles:
            groups[roles[value].kind, roles[value].layer].append((roles[value].projection, value))
    return {key: _in_order(pairs) for key, pairs in groups.items()}


def _in_order(pairs: list[tuple[str, ir.Value]]) -> list[tuple[str, ir.Value]]:
    """Weights as a checkpoint lists them, where it is known how.

    Tools list initializers in any order, and matrices draw their noise in the order in which they are found:
    the same model is to have the same noise.
    """
    if any(projection not in CHECKPOINT_ORDER for projection, _ in pairs):
        return pairs
    return sorted(pairs, key=lambda pair: CHECKPOINT_ORDER.index(pair[0]))


def _in_tower(value: ir.Value, products: list[Product]) -> bool:
    """Whether a weight is of the vision tower of a language model, which no unit holds."""
    return any(map(in_tower, (value.name or "", *(name for one in products for name in _names(one.node)))))


def _numbered_on(roles: dict[ir.Value, WeightRole]) -> dict[ir.Value, WeightRole]:
    """The roles with a decoder's layers numbered on from those of its encoder."""
    more = encoder_layers((role.stack, role.layer) for role in roles.values() if role.layer is not None)
    return {
        value: replace(role, layer=role.layer + more)
        if role.stack == "decoder" and role.layer is not None
        else role
        for value, role in roles.items()
    }


def _weights(model: ir.Model) -> Iterator[ir.Value]:
    return (value for value in model.graph.initializers.values() if value.dtype in FLOATS)


def _is_matrix(product: Product) -> bool:
    """Whether it takes more than one number, as the product that makes angles of positions does not."""
    shape = product.weight.shape
    return shape is not None and len(shape) == 2 and product.widths[0] > 1


def _is_looked_up(value: ir.Value) -> bool:
    """Whether rows of a table are chosen by its users."""
    return any(node.op_type == "Gather" and index == 0 for node, index in value.uses())


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


def _is_copy(table: ir.Value, head: ir.Value) -> bool:
    """Whether a matrix holds the numbers of a table, or of the table turned; rows here and there tell.

    One that was quantised holds them but for a step.
    """
    if table is head or table.shape is None or head.shape is None or table.const_value is None:
        return False
    shape, other = table.shape.numpy(), head.shape.numpy()
    if other not in (shape, shape[::-1]) or head.const_value is None:
        return False
    rows = np.linspace(0, shape[0] - 1, COMPARED).astype(np.int64)
    numbers = tensor_values(head.const_value)
    same = (numbers, numbers.T) if shape[0] == shape[1] else (numbers if other == shape else numbers.T,)
    looked_up = tensor_values(table.const_value)[rows].astype(np.float32)
    step = _step(table.const_value) + _step(head.const_value)
    return any(bool((np.abs(one[rows].astype(np.float32) - looked_up) <= step).all()) for one in same)


def _step(tensor: ir.TensorProtocol) -> float:
    """How far a number may be from the one that was quantised; 0 if it was not."""
    scales = tensor.form.constants[1] if isinstance(tensor, QuantisedTensor) else None
    return 0.0 if scales is None else float(constant_values(scales).astype(np.float32).max())
