"""What is added to a product: read backwards from the sum, or forwards from the product.

    y = Add(MatMul(x, W), b)        y = Add(b, MatMul(x, W))        y = Gemm(x, W, b)

Forwards, rows of several experts may be joined before a bias is added; backwards there are none in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from hetc.passes.spellings.products import Product, read_product
from hetc.passes.spellings.weight_path import WeightPath, trace_weight, trace_whole

__all__ = ["Linear", "bias_row", "find_bias", "read_linear"]

ROWS_KEPT = ("Concat", "Squeeze", "Unsqueeze", "Reshape", "Identity")


@dataclass(frozen=True)
class Linear:
    """A product and what is added to it.

    Attributes:
        product: The product.
        bias: What is added, of any shape; None for a product alone.
        added_by: The node that adds it, or the product's.
    """

    product: Product
    bias: ir.Value | None
    added_by: ir.Node


def read_linear(value: ir.Value) -> Linear | None:
    """The product with a constant that `value` is, and the constant added to it; None for anything else."""
    node = value.producer()
    if node is None:
        return None
    if node.op_type == "Add" and node.domain == "":
        for operand, bias in (node.inputs, reversed(node.inputs)):
            inner = None if operand is None else read_linear(operand)
            if inner is not None and inner.bias is None and trace_whole(bias) is not None:
                return Linear(inner.product, bias, node)
        return None
    product = read_product(node)
    return None if product is None else Linear(product, _third_input(node), node)


def find_bias(product: Product) -> WeightPath | None:
    """The constant that is added to a product, on the way that its rows alone take; None without one."""
    path = trace_weight(_third_input(product.node))
    value = product.node.outputs[0]
    while path is None and len(value.consumers()) == 1:
        (user,) = value.consumers()
        if user.op_type == "Add":
            path = trace_weight(user.inputs[1 if user.inputs[0] is value else 0])
        if user.op_type not in ROWS_KEPT:
            break
        value = user.outputs[0]
    width = product.matrix().shape[1] * (product.count if product.is_stacked else 1)
    return path if path is not None and path.view().size == width else None


def bias_row(bias: WeightPath, product: Product, expert: int) -> NDArray[Any]:
    """What is added to the product of one expert, `[out]`."""
    row: NDArray[Any] = bias.view(expert)
    return row.reshape(product.count, -1)[expert] if product.is_stacked else row.reshape(-1)


def _third_input(node: ir.Node) -> ir.Value | None:
    """What a Gemm adds."""
    return node.inputs[2] if len(node.inputs) > 2 else None
