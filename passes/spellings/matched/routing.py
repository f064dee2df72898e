"""Follows the experts that a router chose back to the choice: how many of how many."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from hetc.passes.spellings.constants import small_constant
from hetc.passes.spellings.spelling import MismatchError

__all__ = ["RouterChoice", "router_choice"]

SAME_SHAPE = {
    *("Add", "Cast", "CastLike", "Clip", "Div", "Identity", "LogSoftmax", "Mul", "Neg", "ScatterElements"),
    *("Sigmoid", "Softmax", "Sub", "Tanh"),
}
"""What keeps the last dimension of its first input, in routers."""


@dataclass(frozen=True)
class RouterChoice:
    """How many experts a token chooses, of how many."""

    top_k: int
    experts: int


def router_choice(chosen: ir.Value, user: ir.Node) -> RouterChoice:
    """What `chosen` `[..., K]` are indices of: the second output of a TopK, or several of them joined.

    Raises:
        MismatchError: It comes from something else, or the sizes aren't known.
    """
    node = chosen.producer()
    if node is not None and node.domain == "":
        if node.op_type in ("Cast", "Identity") and node.inputs[0] is not None:
            return router_choice(node.inputs[0], node)
        if node.op_type == "Concat" and node.attributes.get_int("axis", -1) in (-1, _last_axis(chosen)):
            parts = [router_choice(value, node) for value in node.inputs if value is not None]
            if len({part.experts for part in parts}) == 1:
                return RouterChoice(sum(part.top_k for part in parts), parts[0].experts)
        if node.op_type == "TopK" and chosen is node.outputs[1]:
            count = small_constant(node.inputs[1])
            experts = _last_size(node.inputs[0])
            on_last = node.attributes.get_int("axis", -1) in (-1, _last_axis(node.inputs[0]))
            if count is not None and experts is not None and on_last:
                return RouterChoice(int(count.item()), experts)
            raise MismatchError("it isn't known how many experts it chooses from, or how many", node)
    raise MismatchError(f"the experts {chosen.name!r} don't come from a TopK", node or user)


def _last_axis(value: ir.Value | None) -> int:
    return len(value.shape) - 1 if value is not None and value.shape is not None else -1


def _last_size(value: ir.Value | None) -> int | None:
    """The last dimension, from the declared shape or from the weight that made it."""
    if value is None:
        return None
    if value.shape is not None and isinstance(value.shape[-1], int):
        return value.shape[-1]
    node = value.producer()
    if node is None or node.domain != "":
        return None
    if node.op_type in SAME_SHAPE:
        return _last_size(node.inputs[0])
    if node.op_type == "Where":
        return _last_size(node.inputs[2])
    if node.op_type == "Transpose" and list(node.attributes.get_ints("perm", (1, 0))) == [1, 0]:
        shape = node.inputs[0].shape if node.inputs[0] is not None else None
        return shape[0] if shape is not None and isinstance(shape[0], int) else None
    if node.op_type == "MatMul":
        return _last_size(node.inputs[1])
    if node.op_type == "Gemm" and node.inputs[1] is not None and node.inputs[1].shape is not None:
        size = node.inputs[1].shape[0 if node.attributes.get_int("transB", 0) else 1]
        return size if isinstance(size, int) else None
    return None
