"""The canonical MoE layer: tokens sorted by expert, one node per expert, standard operators around it.

    ids  = Reshape(top_k_index, [-1])                     one routed row for each token and choice
    perm = TopK(ids, all, smallest first) indices         rows sorted by expert (stable)
    x_e  = Split(Gather(x, perm / K), tokens per expert)  zero rows allowed
    y_e  = hetc::Expert(x_e, gate_e, up_e, down_e)
    y    = ReduceSum over K of Gather(Concat(y_e) * Gather(top_k_weight, perm), inverse(perm))

The rows return by the inverse permutation and a sum: `ScatterND(add)` on repeated indices races in
ONNX Runtime.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import onnx_ir as ir

from hetc.operators.schemas import DOMAIN
from hetc.passes.canonical.named_tape import NamedTape

__all__ = ["CanonicalLayer", "ExpertWeights", "build_canonical_layer", "expert_operator"]

_16_BIT = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True)
class ExpertWeights:
    """The constants of one expert.

    gate and up are `[I, H]`, down `[H, I]` (all transposed where `transpose_weight` is off); biases `[I]`,
    `[I]`, `[H]`. Weights are all float32, or all 16 bits wide.
    """

    up: ir.Value
    down: ir.Value
    gate: ir.Value | None = None
    gate_bias: ir.Value | None = None
    up_bias: ir.Value | None = None
    down_bias: ir.Value | None = None

    @property
    def inputs(self) -> list[ir.Value | None]:
        """The inputs of an expert node after x, without the absent ones at the end."""
        inputs = [self.gate, self.up, self.down, self.gate_bias, self.up_bias, self.down_bias]
        while inputs[-1] is None:
            inputs.pop()
        return inputs


@dataclass(frozen=True)
class CanonicalLayer:
    """A built layer: its nodes in order, the new constants that they read, the result `[T, H]` float32."""

    nodes: list[ir.Node]
    constants: list[ir.Value]
    output: ir.Value


def expert_operator(weights: ExpertWeights) -> str:
    """`Expert` for float32 weights, `Expert16` for float16 and bfloat16.

    Raises:
        ValueError: weights of one expert of mixed or other types.
    """
    matrices = [value for value in (weights.gate, weights.up, weights.down) if value is not None]
    types = {value.dtype for value in matrices}
    if types == {ir.DataType.FLOAT}:
        return "Expert"
    if types <= set(_16_BIT):
        return "Expert16"
    found = ", ".join(f"{value.name} is {value.dtype}" for value in matrices)
    raise ValueError(f"an expert's weights must all be float32, or all float16 or bfloat16: {found}")


def build_canonical_layer(
    x: ir.Value,
    top_k_index: ir.Value,
    top_k_weight: ir.Value,
    experts: Sequence[ExpertWeights],
    *,
    layer: str,
    top_k: int,
    hidden_size: int,
    activation: str,
    activation_attributes: Mapping[str, float] = MappingProxyType({}),
    transpose_weight: bool = True,
) -> CanonicalLayer:
    """Build the layer; the caller inserts the nodes and registers the constants as initializers.

    Args:
        x: tokens, `[T, H]`, float32; T >= 1.
        top_k_index: the experts that each token chose, `[T, K]`, int64, each 0 <= index < number of experts.
        top_k_weight: their weights, `[T, K]`, float32.
        experts: constants of each expert, in order of expert index.
        layer: leads every name: `layers.3` names the nodes `layers.3.experts.17` and `layers.3.experts/sort`.
        top_k: K.
        hidden_size: H.
        activation: a name in `hetc.operators.activations.ACTIVATIONS`.
        activation_attributes: those that nodes with this activation have besides.
        transpose_weight: whether weights are `[out, in]`.

    Raises:
        ValueError: an expert's weights are of mixed or unsupported types.
    """
    prefix = f"{layer}.experts"
    tape = NamedTape(prefix)
    op, constant = tape.op, tape.constant

    flat = constant("flat", [-1])
    first_axis = constant("first_axis", [0])
    second_axis = constant("second_axis", [1])

    ids = op("ids", "Reshape", [top_k_index, flat])
    routed = op("routed", "Shape", [ids])
    _, permutation = tape.top_k("sort", ids, routed, axis=0, largest=False)
    matches = op(
        "matches",
        "Equal",
        [op("ids_column", "Unsqueeze", [ids, second_axis]), constant("range", [range(len(experts))])],
    )
    counted = op("matches_int64", "Cast", [matches], to=ir.DataType.INT64.value)
    count = op("count", "ReduceSum", [counted, first_axis], keepdims=0)
    token = op("token", "Div", [permutation, constant("top_k", [top_k])])
    rows = op("rows", "Gather", [x, token], axis=0)

    inputs = [ir.val(f"{prefix}.{index}/x", dtype=ir.DataType.FLOAT) for index in range(len(experts))]
    tape.nodes.append(ir.node("Split", [rows, count], {"axis": 0}, outputs=inputs, name=f"{prefix}/split"))
    outputs = [ir.val(f"{prefix}.{index}/y", dtype=ir.DataType.FLOAT) for index in range(len(experts))]
    for index, weights in enumerate(experts):
        expert = ir.node(
            expert_operator(weights),
            [inputs[index], *weights.inputs],
            {
                "activation": activation,
                "transpose_weight": int(transpose_weight),
                **activation_attributes,
            },
            domain=DOMAIN,
            outputs=[outputs[index]],
            name=f"{prefix}.{index}",
        )
        tape.nodes.append(expert)

    joined = op("joined", "Concat", outputs, axis=0)
    flat_weight = op("flat_weight", "Reshape", [top_k_weight, constant("column", [-1, 1])])
    weighted = op("weighted", "Mul", [joined, op("row_weight", "Gather", [flat_weight, permutation], axis=0)])
    _, inverse = tape.top_k("inverse", permutation, routed, axis=0, largest=False)
    restored = op("restored", "Gather", [weighted, inverse], axis=0)
    choices = op("choices", "Reshape", [restored, constant("choices_shape", [-1, top_k, hidden_size])])
    output = op("sum", "ReduceSum", [choices, second_axis], keepdims=0)
    output.dtype = ir.DataType.FLOAT
    return CanonicalLayer(tape.nodes, tape.constants, output)
