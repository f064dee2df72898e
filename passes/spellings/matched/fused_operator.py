"""What com.microsoft::MoE and QMoE have in common: the form of an expert, and the choice of experts.

Both follow ONNX Runtime's CPU kernels (contrib_ops/cpu/moe) where its operator documentation leaves room.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import onnx_ir as ir

from hetc.operators.activations import CLAMPED_SWISH
from hetc.passes.canonical.named_tape import NamedTape
from hetc.passes.spellings.spelling import MismatchError

__all__ = ["ExpertForm", "choose_experts", "expert_form", "refuse"]

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


def choose_experts(glue: NamedTape, scores: ir.Value, experts: int, top_k: int) -> tuple[ir.Value, ir.Value]:
    """Scores and indices `[T, K]` of the highest scores `[T, E]`; the kernels give ties to the higher index.

    TopK gives them to the lower index, so that it is shown the experts backwards.
    """
    backwards = glue.constant("backwards", list(range(experts - 1, -1, -1)))
    reversed_scores = glue.op("reversed", "Gather", [scores, backwards], axis=-1)
    count = glue.constant("top_k_count", [top_k])
    values, position = glue.top_k("top_k", reversed_scores, count, axis=-1, largest=True)
    position.dtype = ir.DataType.INT64
    index = glue.op("index", "Sub", [glue.constant("last", experts - 1), position])
    index.dtype = ir.DataType.INT64
    return values, index
