"""Counts what no unit holds: products with constant weights whose role neither names nor structure say."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator

import onnx_ir as ir

from hetc.operators.schemas import DOMAIN
from hetc.passes.analysis.product_flow import constant_source
from hetc.passes.analysis.unit_weights import unit_weights
from hetc.plan.finding import Finding

__all__ = ["find_outside"]

logger = logging.getLogger(__name__)

PRODUCTS = frozenset(["Attention", "Einsum", "FusedGemm", "FusedMatMul", "Gemm", "GemmFastGelu", "MatMul"])
QUANTISED = frozenset(
    [
        "DynamicQuantizeMatMul",
        "MatMulBnb4",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QAttention",
        "QGemm",
        "QLinearMatMul",
    ]
)


def find_outside(model: ir.Model) -> tuple[Finding, ...]:
    """One finding that counts the products with constant weights that belong to no unit; none if all do.

    Also warns of them: they stay digital, and the shares count them as neither digital nor analog.
    """
    held = {value for pairs in unit_weights(model).values() for _, value in pairs}
    outside: dict[ir.Value, ir.Node] = {}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.domain != DOMAIN and node.op_type in PRODUCTS | QUANTISED:
            for value in _weights(node):
                if value not in held:
                    outside.setdefault(value, node)
    if not outside:
        return ()
    value, node = next(iter(outside.items()))
    size = sum(_size(node, value) for value, node in outside.items())
    reason = (
        f"{len(outside)} products with constant weights ({size:,} parameters) belong to no unit; they stay "
        f"digital and count neither as digital nor as analog. The first is {node.op_type} {node.name!r} with "
        f"weight {value.name!r} {_shape(value)}"
    )
    logger.warning("%s", reason)
    return (Finding("model", "", False, reason, node.name or ""),)


def _weights(node: ir.Node) -> Iterator[ir.Value]:
    """The constants of a product that are matrices or stacks of them, of more than a row or column."""
    for operand in node.inputs[:2]:
        value = constant_source(operand)
        if value is not None and sum(size != 1 for size in _shape(value)) > 1:
            yield value


def _size(node: ir.Node, value: ir.Value) -> int:
    if node.op_type == "MatMulNBits":  # the weight holds several numbers in a byte
        return int(node.attributes["K"].as_int() * node.attributes["N"].as_int())
    return math.prod(_shape(value))


def _shape(value: ir.Value) -> tuple[int, ...]:
    tensor = value.const_value
    return tuple(tensor.shape.numpy()) if tensor is not None else ()
