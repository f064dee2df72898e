"""What com.microsoft::MoE and QMoE have in common: the form of an expert, the choice of experts, the layer.

Both follow ONNX Runtime's CPU kernels (contrib_ops/cpu/moe) where its operator documentation leaves room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

import onnx_ir as ir

from hetc.operators.activations import CLAMPED_SWISH
from hetc.passes.canonical.canonical_layer import ExpertWeights
from hetc.passes.canonical.named_tape import NamedTape
from hetc.passes.spellings.spelling import FoundLayer, MismatchError

__all__ = [
    "ExpertForm",
    "FusedStacks",
    "choose_experts",
    "expert_form",
    "fused_layer",
    "fused_nodes",
    "refuse",
    "sum_of_weights",
]

UNGATED = {"relu": "relu", "gelu": "gelu_tanh", "silu": "silu", "relu2": "relu2"}
GATED = {"swiglu": "silu", "geglu": "gelu_tanh"}


@dataclass(frozen=True)
class ExpertForm:
    """How the rows of fc1 make an expert.

    Attributes:
        activation: A name in `hetc.operators.activations.ACTIVATIONS`.
        attributes: What nodes with this activation have besides.
        gate: Which rows of fc1 are the gate's; None for an expert without one.
        up: Which are the other projection's.
    """

    activation: str
    attributes: dict[str, float]
    gate: slice | None
    up: slice


@dataclass(frozen=True)
class FusedStacks:
    """The constants of an operator's experts, each by expert and by which of its rows.

    Attributes:
        fc1: Gate and up, or up alone.
        fc2: Down.
        fc1_bias: Biases of fc1; gives None where there are none.
        fc2_bias: Those of fc2.
        experts: How many there are.
        hidden_size: Rows of fc2.
    """

    fc1: Callable[[int, slice], ir.Value]
    fc2: Callable[[int, slice], ir.Value]
    fc1_bias: Callable[[int, slice], ir.Value | None]
    fc2_bias: Callable[[int, slice], ir.Value | None]
    experts: int
    hidden_size: int

    def expert(self, index: int, form: ExpertForm) -> ExpertWeights:
        """One expert's constants."""
        return ExpertWeights(
            gate=None if form.gate is None else self.fc1(index, form.gate),
            up=self.fc1(index, form.up),
            down=self.fc2(index, slice(None)),
            gate_bias=None if form.gate is None else self.fc1_bias(index, form.gate),
            up_bias=self.fc1_bias(index, form.up),
            down_bias=self.fc2_bias(index, slice(None)),
        )


def fused_nodes(graph: ir.Graph, operator: str) -> Iterator[ir.Node]:
    """Every node of an operator of ONNX Runtime's."""
    for node in graph:
        if node.op_identifier() == ("com.microsoft", operator, ""):
            yield node


def refuse(node: ir.Node, inputs: dict[int, str], attributes: dict[str, int | str]) -> None:
    """Raises `MismatchError` for an input that is there, or an attribute that is another than stated."""
    for index, name in inputs.items():
        if index < len(node.inputs) and node.inputs[index] is not None:
            raise MismatchError(f"it has {name}, which is not known", node)
    for name, expected in attributes.items():
        value = node.attributes[name].value if name in node.attributes else expected
        if isinstance(value, bytes):
            value = value.decode()
        if value != expected:
            raise MismatchError(f"{name} is {value!r}, which is not known, only {expected!r}", node)


def expert_form(node: ir.Node, inter: int) -> ExpertForm:
    """The form that the node's attributes give an expert of intermediate width `inter`.

    Raises:
        MismatchError: An activation or layout that an expert can't have.
    """
    kind = node.attributes.get_string("activation_type", "relu")
    fusion = node.attributes.get_int("swiglu_fusion", 0)
    if kind in UNGATED and fusion == 0:
        return ExpertForm(UNGATED[kind], {}, None, slice(None))
    if kind not in GATED or fusion not in (1, 2):
        raise MismatchError(f"activation {kind!r} with swiglu_fusion {fusion} is not known", node)
    activation, numbers = GATED[kind], {}
    if kind == "swiglu":
        plain = {"alpha": 1.0, "beta": 0.0, "limit": inf}
        names = {"alpha": "activation_alpha", "beta": "activation_beta", "limit": "swiglu_limit"}
        numbers = {part: node.attributes.get_float(names[part], value) for part, value in plain.items()}
        if not (numbers["alpha"] > 0 and numbers["beta"] >= 0 and numbers["limit"] > 0):
            raise MismatchError(f"swiglu with {numbers} is not known", node)
        if numbers == plain:
            numbers = {}
        else:
            activation = CLAMPED_SWISH
    attributes = {f"activation_{part}": value for part, value in numbers.items()}
    if fusion == 1:
        return ExpertForm(activation, attributes, slice(0, None, 2), slice(1, None, 2))
    return ExpertForm(activation, attributes, slice(0, inter), slice(inter, None))


def choose_experts(
    glue: NamedTape, node: ir.Node, scores: ir.Value, experts: int
) -> tuple[ir.Value, ir.Value]:
    """Scores and indices `[T, K]` of the highest scores `[T, E]`; the kernels give ties to the higher index.

    TopK gives them to the lower index, so that it is shown the experts backwards.
    """
    backwards = glue.constant("backwards", list(range(experts - 1, -1, -1)))
    reversed_scores = glue.op("reversed", "Gather", [scores, backwards], axis=-1)
    count = glue.constant("top_k_count", [_top_k(node)])
    values, position = glue.top_k("top_k", reversed_scores, count, axis=-1, largest=True)
    position.dtype = ir.DataType.INT64
    index = glue.op("index", "Sub", [glue.constant("last", experts - 1), position])
    index.dtype = ir.DataType.INT64
    return values, index


def sum_of_weights(glue: NamedTape, node: ir.Node, chosen: ir.Value) -> ir.Value | None:
    """The sums `[T, 1]` that the operator divides the chosen weights by; None where it leaves them alone."""
    if not node.attributes.get_int("normalize_routing_weights", 0):
        return None
    return glue.op("sum", "ReduceSum", [chosen, glue.constant("axis", [-1])], keepdims=1)


def fused_layer(
    node: ir.Node, form: ExpertForm, stacks: FusedStacks, index: ir.Value, weight: ir.Value, glue: NamedTape
) -> FoundLayer:
    """The layer that an operator is.

    Args:
        node: The operator.
        form: Form of its experts.
        stacks: Their constants.
        index: The experts that each token chose, `[T, K]`.
        weight: Their weights, `[T, K]`, float32; their type is noted here.
        glue: What makes both.
    """
    x = node.inputs[0]
    assert x is not None
    weight.dtype = ir.DataType.FLOAT
    return FoundLayer(
        x=x,
        top_k_index=index,
        top_k_weight=weight,
        experts=tuple(stacks.expert(expert, form) for expert in range(stacks.experts)),
        output=node.outputs[0],
        top_k=_top_k(node),
        hidden_size=stacks.hidden_size,
        activation=form.activation,
        activation_attributes=form.attributes,
        glue=glue,
    )


def _top_k(node: ir.Node) -> int:
    return node.attributes.get_int("k", 1)
