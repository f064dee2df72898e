"""com.microsoft::QMoE: MoE with weights of 2, 4 or 8 bits, as onnxruntime-genai's builder and mobius have it.

Inputs: x, router_probs, fc1, fc1_scales, fc1_bias?, fc2, fc2_scales, fc2_bias?, (fc3, its scales and bias),
fc1_zero_points?, fc2_zero_points?, (fc3's), router_weights?. Expert weights become float32,
`(q - zero_point) * scale` block by block along the inputs, computed one expert at a time when they are read.
A digital expert multiplies by MatMulNBits where that has such blocks, so that its weights stay packed.

The routing is rebuilt as ONNX Runtime's CPU kernel does it (contrib_ops/cpu/moe/moe_quantization_cpu.cc): the
highest router_probs choose. Without router_weights their softmax weighs, whatever `normalize_routing_weights`
says; with router_weights, the chosen ones of those, normalized on request, and none that is 1e-8 or less.
The canonical layer multiplies the dequantised weights. That kernel does too, but for two shortcuts that round
activations to 8 bits: blocks of 8-bit weights, unless ORT_QMOE_CPU_QNBIT_GEMM=0 is in the environment, and
blocks of 2-bit weights where the rows are a multiple of 128.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.block_weights import block_form, unpack
from hetc.model.external_tensors import tensor_values
from hetc.model.quantised_tensor import QuantisedForm, QuantisedTensor, dequantise
from hetc.passes.canonical.named_tape import NamedTape
from hetc.passes.spellings.initializers import computed, unstack, weight
from hetc.passes.spellings.matched.fused_operator import (
    FusedStacks,
    choose_experts,
    expert_form,
    fused_layer,
    fused_nodes,
    refuse,
    sum_of_weights,
)
from hetc.passes.spellings.spelling import FoundLayer, MismatchError

__all__ = ["NAME", "anchors", "recognise"]

NAME = "com.microsoft::QMoE"

REFUSED = dict.fromkeys((8, 9, 10, 13), "fc3") | dict.fromkeys(range(15, 21), "a global or activation scale")
NBITS, NBITS_BLOCKS = (4, 8), (16, 32, 64, 128, 256)
"""Bits and block sizes of MatMulNBits."""
ROUNDING_BITS = (2, 8)
"""Bits of blocks for which the kernel has shortcuts."""
LEAST_WEIGHT = np.float32(1e-8)
"""The kernel drops experts whose weight is not above this."""


def anchors(graph: ir.Graph) -> Iterator[ir.Node]:
    """Every QMoE node."""
    yield from fused_nodes(graph, "QMoE")


def recognise(node: ir.Node) -> FoundLayer:
    """The layer that the node is.

    Raises:
        MismatchError: Something that the CPU kernel doesn't do, or that an expert can't be.
    """
    refuse(node, REFUSED, {"quant_type": "int", "use_sparse_mixer": 0, "swiglu_limit_after_activation": 0})
    if node.attributes.get_int("weights_prepacked", -1) == 1:
        raise MismatchError("its weights are packed for CUDA (weights_prepacked is 1)", node)
    inputs = [*node.inputs, *[None] * (15 - len(node.inputs))]
    x, router = inputs[:2]
    assert x is not None and router is not None
    fc1 = _quantised(node, "fc1", inputs[2], inputs[3], inputs[11])
    fc2 = _quantised(node, "fc2", inputs[5], inputs[6], inputs[12])
    count, hidden, inter = fc2.shape
    form = expert_form(node, inter)
    if fc1.shape != (count, inter if form.gate is None else 2 * inter, hidden):
        raise MismatchError(f"fc1 is {list(fc1.shape)}, which doesn't fit fc2, {list(fc2.shape)}", node)
    fc1_bias = None if inputs[4] is None else weight(inputs[4], node)
    fc2_bias = None if inputs[7] is None else weight(inputs[7], node)

    def bias(stack: ir.Value | None, expert: int, rows: slice) -> ir.Value | None:
        """A bias in float32, as the weights are."""
        part = unstack(stack, expert, rows)
        if part is None or part.dtype == ir.DataType.FLOAT:
            return part
        tensor = part.const_value
        assert tensor is not None
        return computed(
            tensor, tensor.shape.numpy(), ir.DataType.FLOAT, lambda: tensor_values(tensor).astype(np.float32)
        )

    biases = partial(bias, fc1_bias), partial(bias, fc2_bias)
    glue = NamedTape(f"{node.name}/router")
    index, chosen = _route(glue, node, router, inputs[14], count)
    return fused_layer(
        node, form, FusedStacks(fc1.expert, fc2.expert, *biases, count, hidden), index, chosen, glue
    )


def _route(
    glue: NamedTape, node: ir.Node, router: ir.Value, weights: ir.Value | None, experts: int
) -> tuple[ir.Value, ir.Value]:
    """Index and weight `[T, K]` of the chosen experts."""
    highest, index = choose_experts(glue, node, glue.float32("float32", router), experts)
    if weights is None:
        chosen = glue.op("softmax", "Softmax", [highest], axis=-1)
    else:
        wide = glue.float32("weights_float32", weights)
        chosen = glue.op("chosen", "GatherElements", [wide, index], axis=-1)
        total = sum_of_weights(glue, node, chosen)
        if total is not None:
            # A sum of zero gives weights of zero.
            zero, one = glue.constant("zero", np.float32(0)), glue.constant("one", np.float32(1))
            divisor = glue.op("divisor", "Where", [glue.op("no_sum", "Equal", [total, zero]), one, total])
            chosen = glue.op("normalized", "Div", [chosen, divisor])
        large = glue.op("large", "Greater", [chosen, glue.constant("least", LEAST_WEIGHT)])
        chosen = glue.op("kept", "Where", [large, chosen, glue.constant("none", np.float32(0))])
    return index, chosen


@dataclass(frozen=True)
class _Quantised:
    """Stacked quantised weights `[E, N, K]`.

    Attributes:
        codes: `[E, N, K * bits / 8]` uint8, the lowest bits first.
        scales: `[E, N, blocks]`, or `[E, N]` for one block.
        zero_points: Packed like codes: `[E, N, blocks * bits / 8]`, or `[E, N * bits / 8]` for one block;
            None for 2^(bits-1).
        bits: 2, 4 or 8.
        block_size: Inputs that share a scale.
    """

    codes: ir.TensorProtocol
    scales: ir.TensorProtocol
    zero_points: ir.TensorProtocol | None
    bits: int
    block_size: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Experts, outputs N, inputs K."""
        experts, outputs, packed = self.codes.shape.numpy()
        return experts, outputs, packed * 8 // self.bits

    def expert(self, index: int, rows: slice) -> ir.Value:
        """Rows of one expert's matrix as float32."""
        _, outputs, inputs = self.shape
        shape = (len(range(*rows.indices(outputs))), inputs)

        def numbers() -> NDArray[np.float32]:
            return self._dequantise(index, rows)

        rows_share = self.zero_points is not None and len(self.zero_points.shape) == 2  # bytes of zero points
        fits = self.bits in NBITS and self.block_size in NBITS_BLOCKS and inputs % self.block_size == 0
        if rows_share or not fits:
            return computed(self.codes, shape, ir.DataType.FLOAT, numbers)
        value = ir.Value(type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))
        form, name = self._form(index, rows, *shape), self.codes.name or ""
        value.const_value = QuantisedTensor(form, numbers, ir.DataType.FLOAT, shape, name)
        return value

    def _form(self, index: int, rows: slice, outputs: int, inputs: int) -> QuantisedForm:
        """The matrix as MatMulNBits has it."""
        blocks = inputs // self.block_size

        def part(
            tensor: ir.TensorProtocol, width: Sequence[int], dtype: ir.DataType = ir.DataType.UINT8
        ) -> ir.Value:
            shape = (outputs, *width)

            def numbers() -> NDArray[Any]:
                return tensor_values(tensor)[index, rows].reshape(shape).astype(dtype.numpy(), copy=False)

            return computed(tensor, shape, dtype, numbers)

        numbers = {"K": inputs, "N": outputs, "bits": self.bits, "block_size": self.block_size}
        codes = part(self.codes, (blocks, self.block_size * self.bits // 8))
        scales = part(self.scales, (blocks,), ir.DataType.FLOAT)
        points = self.zero_points
        zeros = None if points is None else part(points, (-(-blocks * self.bits // 8),))
        attributes = {name: ir.AttrInt64(name, number) for name, number in numbers.items()}
        form = block_form(codes, scales, zeros, None, attributes)
        return replace(form, activation_bits=8 if self.bits in ROUNDING_BITS else 0)

    def _dequantise(self, index: int, rows: slice) -> NDArray[np.float32]:
        _, outputs, inputs = self.shape
        codes = unpack(tensor_values(self.codes)[index, rows], self.bits)
        scales = tensor_values(self.scales)[index].reshape(outputs, -1)[rows]
        zero = np.array([1 << (self.bits - 1)])
        if self.zero_points is not None:
            unpacked = unpack(tensor_values(self.zero_points)[index], self.bits)
            zero = unpacked[:outputs, None][rows] if unpacked.ndim == 1 else unpacked[rows, : scales.shape[1]]
        return dequantise(codes[:, :inputs], scales, zero, 1, self.block_size)


def _quantised(
    node: ir.Node, name: str, codes: ir.Value | None, scales: ir.Value | None, zero_points: ir.Value | None
) -> _Quantised:
    """The stack `fc1` or `fc2` of the node, checked."""
    default = node.attributes.get_int("expert_weight_bits", 4)
    bits = node.attributes.get_int(f"{name}_expert_weight_bits", default)
    if bits not in (2, 4, 8):
        raise MismatchError(f"{name} has weights of {bits} bits, not 2, 4 or 8", node)
    stack, scale = weight(codes, node), weight(scales, node)
    assert stack.const_value is not None and scale.const_value is not None
    if stack.dtype != ir.DataType.UINT8 or len(stack.const_value.shape) != 3:
        raise MismatchError(f"{name} is {stack.dtype}{stack.shape}, not packed uint8 [E, N, K]", node)
    experts, outputs, packed = stack.const_value.shape.numpy()
    inputs = packed * 8 // bits
    # One block to a row is what the kernel calls row-wise, with or without a block_size.
    whole = scale.shape in ([experts, outputs], [experts, outputs, 1])
    block_size = inputs if whole else node.attributes.get_int("block_size", 0)
    blocks = 1 if whole else -(-inputs // max(1, block_size))
    if not whole and (block_size <= 0 or scale.shape != [experts, outputs, blocks]):
        raise MismatchError(f"{name}_scales are {scale.shape} for block_size {block_size}", node)
    points = None
    if zero_points is not None:
        points = weight(zero_points, node).const_value
        assert points is not None
        expected = (
            [experts, outputs, -(-blocks * bits // 8)] if not whole else [experts, -(-outputs * bits // 8)]
        )
        if points.shape != expected:
            raise MismatchError(f"{name}_zero_points are {points.shape}, not {expected}", node)
    return _Quantised(stack.const_value, scale.const_value, points, bits, block_size)
