"""Rescales what enters products after a norm, channel by channel, so that converters see less spread.

    y = Mul(g, x), MatMul(y, W), Expert(y, G, U, D)
 -> y = Mul(g / s, x), MatMul(y, s W), Expert(y, s G, s U, D)

The model stays what it was: s are powers of two, and floating-point numbers are multiplied by those without
an error. Source: SmoothQuant (Xiao et al. 2023), used before analog products by NORA (DATE 2025).

A norm is left alone where something else than a product takes its
output, or where something else uses one of the weights.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.external_tensors import tensor_values
from hetc.model.weights import FLOATS
from hetc.operators.schemas import DOMAIN, EXPERT_OPERATORS
from hetc.passes.analysis.weight_uses import Product, products_of

__all__ = ["SmoothInputs", "SmoothedNorm", "find_smoothable"]

logger = logging.getLogger(__name__)

MOST = 8
"""Largest exponent of s: 16-bit weights stay far from overflow."""


@dataclass(frozen=True)
class SmoothedNorm:
    """A norm whose channels can be rescaled.

    Attributes:
        weight: Its weight, `[H]`.
        output: What the products take, `[..., H]`.
        inputs: For each matrix that is multiplied by it, which axis its inputs are along.
    """

    weight: ir.Value
    output: ir.Value
    inputs: Mapping[ir.Value, int]


class SmoothInputs(ir.passes.InPlacePass):
    """Moves the spread of the channels that `largest` names from activations to weights.

    Args:
        largest: For the name of a norm's weight, the largest magnitude of each channel of its output, `[H]`.
        strength: 0 .. 1: s = largest^strength / (largest weight of the channel)^(1 - strength), over its
            geometric mean, to the nearest power of two.
    """

    def __init__(self, largest: Mapping[str, NDArray[np.float32]], strength: float = 0.5) -> None:
        super().__init__()
        self.largest, self.strength = largest, strength

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        norms = [norm for norm in find_smoothable(model) if norm.weight.name in self.largest]
        for norm in norms:
            factors = self._factors(norm, self.largest[norm.weight.name or ""])
            norm.weight.const_value = _scaled(norm.weight, np.float32(1) / factors, 0)
            for weight, axis in norm.inputs.items():
                weight.const_value = _scaled(weight, factors, axis)
        return ir.passes.PassResult(model, modified=bool(norms))

    def _factors(self, norm: SmoothedNorm, largest: NDArray[np.float32]) -> NDArray[np.float32]:
        weights = np.max([_largest(weight, axis) for weight, axis in norm.inputs.items()], axis=0)
        live = (largest > 0) & (weights > 0)
        exponent = np.zeros(len(largest))
        exponent[live] = self.strength * np.log2(largest[live]) - (1 - self.strength) * np.log2(weights[live])
        exponent[live] -= exponent[live].mean() if live.any() else 0
        factors: NDArray[np.float32] = np.exp2(np.clip(np.rint(exponent), -MOST, MOST)).astype(np.float32)
        return factors


def find_smoothable(model: ir.Model) -> list[SmoothedNorm]:
    """The norms that can be rescaled; the log has the reasons for others."""
    products = {
        product.node: product
        for value in model.graph.initializers.values()
        if value.dtype in FLOATS and len(value.shape or ()) == 2
        for product in products_of(value)
    }
    found = []
    for weight in model.graph.initializers.values():
        if weight.dtype not in FLOATS or len(weight.shape or ()) != 1:
            continue
        uses = list(_uses(weight))
        if len(uses) != 1 or uses[0].op_type != "Mul":
            continue
        output = uses[0].outputs[0]
        inputs, reason = _inputs(output, weight.shape[0], products)  # type: ignore[index]
        if reason or not inputs:
            logger.info("%s is not smoothed: %s", weight.name, reason or "no product takes its output")
        else:
            found.append(SmoothedNorm(weight, output, inputs))
    return found


def _uses(value: ir.Value) -> Iterator[ir.Node]:
    """The nodes that use a constant, seen through Cast, Identity and Transpose."""
    for node, _ in value.uses():
        if node.domain in ("", "ai.onnx") and node.op_type in ("Cast", "Identity", "Transpose"):
            yield from _uses(node.outputs[0])
        else:
            yield node


def _inputs(
    output: ir.Value, width: int | ir.SymbolicDim, products: Mapping[ir.Node, Product]
) -> tuple[dict[ir.Value, int], str]:
    """The matrices that multiply the rows of `output`, or why it can't be rescaled."""
    inputs: dict[ir.Value, int] = {}
    takers: set[ir.Node] = set()
    left = [output]
    while left:
        value = left.pop()
        if value.is_graph_output():
            return {}, "it is an output of the model"
        for node, index in value.uses():
            if index == 0 and _keeps_rows(node, width):
                left += node.outputs
                continue
            takers.add(node)
            product = products.get(node)
            if product is not None and index == 0:
                inputs[product.weight] = int(product.transposed)
            elif node.op_type in EXPERT_OPERATORS and node.domain == DOMAIN and index == 0:
                axis = node.attributes["transpose_weight"].as_int()
                inputs.update({weight: axis for weight in node.inputs[1:3] if weight is not None})
            else:
                return {}, f"{node.op_type} {node.name!r} takes its output and is no product with a weight"
    for weight in inputs:
        if weight.const_value is None or not set(_uses(weight)) <= takers:
            return {}, f"something else uses the weight {weight.name!r}"
    return inputs, ""


def _keeps_rows(node: ir.Node, width: int | ir.SymbolicDim) -> bool:
    """Whether a node hands rows of channels on as they are, whatever it does to their order."""
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type in ("Gather", "Split"):
        axis = node.attributes.get("axis")
        return axis is None or axis.as_int() == 0
    if node.op_type == "Reshape":
        shape = node.outputs[0].shape
        return shape is not None and len(shape) > 0 and shape[-1] == width
    return node.op_type in ("Cast", "Identity")


def _largest(weight: ir.Value, axis: int) -> NDArray[np.float32]:
    """Largest magnitude of each input."""
    assert weight.const_value is not None
    largest: NDArray[np.float32] = np.abs(tensor_values(weight.const_value).astype(np.float32)).max(
        axis=1 - axis
    )
    return largest


def _scaled(weight: ir.Value, factors: NDArray[np.float32], axis: int) -> ir.LazyTensor:
    """The weight times a factor for each index along `axis`, computed when it is written."""
    tensor = weight.const_value
    assert tensor is not None

    def compute() -> ir.TensorProtocol:
        numbers = tensor_values(tensor)
        shape = [-1 if index == axis else 1 for index in range(numbers.ndim)]
        return ir.tensor((numbers.astype(np.float32) * factors.reshape(shape)).astype(numbers.dtype))

    return ir.LazyTensor(compute, dtype=tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=tensor.name)
