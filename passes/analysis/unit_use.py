"""How a token uses a layer: how many experts it visits, and how much it leaves in the cache."""

from __future__ import annotations

import re

import onnx_ir as ir

from hetc.operators.schemas import DOMAIN, EXPERT_OPERATORS

__all__ = [
    "cache_heads",
    "cache_widths",
    "canonical_ends",
    "chosen_experts",
    "leads_to_concat",
    "require_canonical",
]

CACHE_INPUT = re.compile(r"past_key_values\.(\d+)\.(key|value)$")


def chosen_experts(expert: ir.Node) -> int | None:
    """K of the canonical layer that the expert node belongs to; None outside of one.

    Each row of an expert is `Split(Gather(x, perm / K))`, so K is the divisor of its row numbers.
    """
    value = expert.inputs[0]
    for operator, operand in (("Split", 0), ("Gather", 1), ("Div", 1)):
        node = value.producer() if value is not None else None
        if node is None or node.op_type != operator:
            return None
        value = node.inputs[operand]
    constant = value.const_value if value is not None else None
    return None if constant is None else int(constant.numpy().item())


def canonical_ends(expert: ir.Node) -> tuple[list[ir.Value | None], list[ir.Node], ir.Value]:
    """Where the routing enters the canonical layer of an expert whose rows are its own.

    Returns:
        The values that carry the routing, the nodes that take it in, and what the layer gives before its sum
        over K is reshaped.
    """
    split = expert.inputs[0].producer()  # type: ignore[union-attr]
    (concat,) = expert.outputs[0].consumers()
    weighted = next(iter(concat.outputs[0].consumers()))
    restored = next(iter(weighted.outputs[0].consumers()))
    assert split is not None
    routing = [split.inputs[1], *weighted.inputs, *restored.inputs[1:]]
    ends = [split, weighted, restored, concat]
    rows = split.inputs[0].producer() if split.inputs[0] is not None else None
    return routing, [*ends, rows] if rows is not None else ends, restored.outputs[0]


def cache_widths(graph: ir.Graph) -> dict[int, int]:
    """Numbers that a token keeps in each layer's key and value cache: heads x width of both, summed."""
    widths: dict[int, int] = {}
    for value in graph.inputs:
        match = CACHE_INPUT.match(value.name or "")
        if match and value.shape is not None and len(value.shape) == 4:
            heads, width = value.shape[1], value.shape[3]
            if isinstance(heads, int) and isinstance(width, int):
                layer = int(match[1])
                widths[layer] = widths.get(layer, 0) + heads * width
    return widths


def cache_heads(graph: ir.Graph) -> dict[int, int]:
    """Key/value heads of each layer, as its cache has them."""
    heads: dict[int, int] = {}
    for value in graph.inputs:
        match = CACHE_INPUT.match(value.name or "")
        if match and match[2] == "key" and value.shape is not None and len(value.shape) == 4:
            count = value.shape[1]
            heads[int(match[1])] = count if isinstance(count, int) else 0
    return heads


def leads_to_concat(expert: ir.Node) -> bool:
    """Whether an expert's rows are its own: not so for copies that `ReplaceExperts` makes."""
    return [node.op_type for node in expert.outputs[0].consumers()] == ["Concat"]


def require_canonical(model: ir.Model) -> None:
    """Raises onnx-ir's `PreconditionError` unless the model has canonical MoE layers."""
    experts = [node for node in model.graph if node.domain == DOMAIN and node.op_type in EXPERT_OPERATORS]
    if not any(chosen_experts(expert) for expert in experts):
        raise ir.passes.PreconditionError(
            "the model has no canonical MoE layer; `hetc inspect` shows what was recognised and what was not"
        )
