"""How a token uses a layer: how many experts it visits, and how much it leaves in the cache."""

from __future__ import annotations

import re

import onnx_ir as ir

__all__ = ["cache_widths", "chosen_experts"]

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
