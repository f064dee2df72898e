"""Lists the units of a model: experts by their nodes, everything else by `hetc.passes.analysis.unit_weights`.

Precondition: MoE layers are canonical, one `hetc::Expert` or `hetc::Expert16` node per expert, named by
its unit id (`layers.3.experts.17`). A model without MoE layers is dense. The graph isn't changed.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from hetc.base.errors import InvalidInputError
from hetc.model.external_tensors import tensor_values
from hetc.model.weights import FLOATS
from hetc.operators.activations import ACTIVATIONS
from hetc.operators.schemas import DOMAIN, EXPERT_OPERATORS
from hetc.passes.analysis.unit_use import cache_heads, cache_widths, chosen_experts
from hetc.passes.analysis.unit_weights import UnitWeights, tied_copy, unit_weights
from hetc.passes.analysis.weight_uses import products_of
from hetc.plan.neurons import count_neurons
from hetc.plan.units import ALWAYS_DIGITAL, Matrix, Unit
from hetc.plan.weight_roles import unit_id
from hetc.plan.words import KINDS, Kind

__all__ = ["find_units", "model_parameters"]

logger = logging.getLogger(__name__)

EXPERT_ID = re.compile(r"layers\.(\d+)\.experts\.(\d+)$")
MOST_SCALE = 4.0
"""What cosines are multiplied by, at most: YaRN has 0.1 ln(factor) + 1."""
EXPERT_PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


def find_units(model: ir.Model) -> tuple[Unit, ...]:
    """All units in model order, with their matrices numbered: each number is one random stream.

    Raises:
        InvalidInputError: A sign of experts, and no canonical layer, or nothing that could be placed.
    """
    weights = unit_weights(model)
    experts = {
        _expert_id(node): node
        for node in model.graph
        if node.domain == DOMAIN and node.op_type in EXPERT_OPERATORS
    }
    if not experts:
        _require_dense(model, weights)

    streams = iter(range(2**31))
    size = Counter(layer for _, layer, _ in experts)
    cached, heads = cache_widths(model.graph), cache_heads(model.graph)
    held: set[ir.Value] = set()
    units: list[Unit] = []
    for kind, layer, expert in sorted([*((*key, None) for key in weights), *experts], key=_model_order):
        if kind == "expert":
            unit = _expert_unit(experts[kind, layer, expert], layer, expert, streams, held)
            chosen = chosen_experts(experts[kind, layer, expert]) or size[layer]
            if not 0 < chosen <= size[layer]:
                raise InvalidInputError(
                    f"layers.{layer}: each token chooses {chosen} experts, but there are {size[layer]}"
                )
            unit = replace(unit, load=chosen / size[layer])
        else:
            unit = _named_unit(kind, layer, weights[kind, layer], streams, held)
            width = cached.get(layer, 0) if kind == "attention" and layer is not None else 0
            unit = replace(unit, cache_width=width)
        units.append(replace(unit, neurons=count_neurons(kind, unit.matrices, heads.get(layer or 0, 0))))
    logger.info("found %s units", len(units))
    return tuple(units)


def model_parameters(model: ir.Model) -> int:
    """All parameters: every floating-point initializer of one or more dimensions; tied copies count once.

    Tables of angles don't count: some exporters write cosines and sines of all positions, others none.
    """
    copy = tied_copy(model)
    held = {value for pairs in unit_weights(model).values() for _, value in pairs}
    weights = (value for value in model.graph.initializers.values() if value is not copy)
    return sum(
        _size(value)
        for value in weights
        if value.dtype in FLOATS and value.shape and (value in held or not _is_table_of_angles(value))
    )


def _is_table_of_angles(value: ir.Value) -> bool:
    """Whether a matrix of no unit has sines or cosines of positions: of position 0, its first row, all are 0
    or all 1, or what cosines are scaled by, as YaRN does.
    """
    size = _dimensions(value)
    if len(size) != 2 or min(size) < 2 or value.const_value is None:
        return False
    first = tensor_values(value.const_value)[0].astype(np.float32)
    return bool(first.min() == first.max() and 0 <= first[0] < MOST_SCALE)


_Key = tuple[Kind, "int | None", "int | None"]


def _model_order(key: _Key) -> tuple[float, int, int]:
    kind, layer, expert = key
    position = {"embedding": -1.0, "lm_head": math.inf}.get(kind, layer if layer is not None else -1.0)
    return (position, KINDS.index(kind) if kind != "expert" else len(KINDS), expert or 0)


def _named_unit(
    kind: Kind,
    layer: int | None,
    weights: list[tuple[str, ir.Value]],
    streams: Iterable[int],
    held: set[ir.Value],
) -> Unit:
    matrices, nodes, unsupported = [], [], ""
    for projection, value in weights:
        if len(value.shape or ()) != 2:
            continue
        products = list(products_of(value))
        if products and len({product.transposed for product in products}) == 1:
            matrices.append(_matrix(projection, value, products[0].transposed, streams))
            nodes += [product.node.name or "" for product in products]
        else:
            unsupported = f"weight {value.name!r} is not the right operand of a MatMul or Gemm"
    if not matrices:
        unsupported = unsupported or "it has no matrix that is the right operand of a MatMul or Gemm"
    parameters = _count(held, [value for _, value in weights])
    return Unit(
        unit_id(kind, layer), kind, layer, None, tuple(matrices), tuple(nodes), parameters, unsupported
    )


def _expert_unit(
    node: ir.Node, layer: int | None, expert: int | None, streams: Iterable[int], held: set[ir.Value]
) -> Unit:
    transposed = bool(node.attributes["transpose_weight"].as_int())
    present = [
        (projection, value) for projection, value in zip(EXPERT_PROJECTIONS, node.inputs[1:4], strict=True)
    ]
    for projection, value in present:
        if value is not None and not value.is_initializer():
            raise InvalidInputError(f"node {node.name!r}: {projection} is not an initializer")
        if value is not None and value.dtype not in FLOATS:
            raise InvalidInputError(f"node {node.name!r}: {projection} {value.name!r} is {value.dtype}")
        if value is not None and len(_dimensions(value)) != 2:
            raise InvalidInputError(
                f"node {node.name!r}: {projection} {value.name!r} is {value.shape}, but is to be a matrix"
            )
    matrices = tuple(
        _matrix(projection, value, transposed, streams) for projection, value in present if value is not None
    )
    _check_widths(node, matrices)
    if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
        raise InvalidInputError(f"node {node.name!r}: nothing reads what this expert gives")
    activation = node.attributes["activation"].as_string()
    unsupported = "" if activation in ACTIVATIONS else f"activation {activation!r} has no analog kernel"
    parameters = _count(held, [value for value in node.inputs[1:] if value is not None])
    return Unit(
        f"layers.{layer}.experts.{expert}",
        "expert",
        layer,
        expert,
        matrices,
        (node.name or "",),
        parameters,
        unsupported,
    )


def _check_widths(node: ir.Node, matrices: tuple[Matrix, ...]) -> None:
    """An expert leads from H to I and back."""
    *first, down = matrices
    if any((matrix.inputs, matrix.outputs) != (down.outputs, down.inputs) for matrix in first):
        sizes = ", ".join(f"{matrix.weight!r} {matrix.inputs} -> {matrix.outputs}" for matrix in matrices)
        raise InvalidInputError(f"node {node.name!r}: its matrices don't fit each other: {sizes}")


def _matrix(projection: str, value: ir.Value, transposed: bool, streams: Iterable[int]) -> Matrix:
    first, second = _dimensions(value)
    inputs, outputs = (second, first) if transposed else (first, second)
    return Matrix(projection, value.name or "", inputs, outputs, transposed, next(iter(streams)))


def _expert_id(node: ir.Node) -> _Key:
    match = EXPERT_ID.search(node.name or "")
    if match is None:
        raise InvalidInputError(
            f"node {node.name!r}: an {node.op_type} must be named layers.<layer>.experts.<expert>"
        )
    return ("expert", int(match[1]), int(match[2]))


def _count(held: set[ir.Value], values: Iterable[ir.Value]) -> int:
    """Numbers in the values that no unit has held yet: what two units share counts once."""
    new = set(values) - held
    held |= new
    return sum(map(_size, new))


def _size(value: ir.Value) -> int:
    return math.prod(_dimensions(value))


def _dimensions(value: ir.Value) -> list[int]:
    """The shape of an initializer, which is always known."""
    return [dim for dim in value.shape or () if isinstance(dim, int)]


def _require_dense(model: ir.Model, weights: UnitWeights) -> None:
    """Takes a model that has no canonical MoE layer if it has no sign of another one.

    Raises:
        InvalidInputError: It has one, named, or no weights that any unit would hold.
    """
    for node in model.graph:
        if node.op_type in ("MoE", "QMoE"):
            raise InvalidInputError(
                f"node {node.name!r} is an MoE layer spelled {node.domain}::{node.op_type} in a way that "
                "hetc doesn't know; `hetc inspect` says why; `hetc export CHECKPOINT` writes one that it does"
            )
    for name in model.graph.initializers:
        if "experts" in name:
            raise InvalidInputError(
                f"weight {name!r} looks like an expert's, but its layer is spelled in a way that hetc "
                "doesn't know; `hetc inspect` says why, and `hetc export CHECKPOINT` writes one that it does"
            )
    for (kind, _), values in weights.items():
        if kind == "router":
            raise InvalidInputError(
                f"weight {values[0][1].name!r} looks like a router's, but no experts were found that it "
                "chooses; `hetc export CHECKPOINT` writes models in a spelling that hetc knows"
            )
    if all(kind in ALWAYS_DIGITAL for kind, _ in weights):
        raise InvalidInputError(
            "nothing can be placed: the model has neither experts nor weights that, by names or structure, "
            "are an attention's, an MLP's or an LM head's"
        )
