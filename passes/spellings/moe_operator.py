"""com.microsoft::MoE(x, router_probs, fc1, fc1_bias?, fc2, fc2_bias?), as onnxruntime-genai's builder has it.

The routing sits inside of the operator; it is rebuilt as ONNX Runtime's CPU kernel does it
(contrib_ops/cpu/moe/moe_cpu.cc): softmax over all experts, top-k, and with `normalize_routing_weights` a
division by their sum. `use_sparse_mixer`, which that kernel reads and ignores, is refused, and so are fc3
(not implemented there) and weights of the older shape [E, H, I].
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from hetc.passes.canonical_layer import ExpertWeights
from hetc.passes.named_tape import NamedTape
from hetc.passes.spellings.constants import unstack, weight
from hetc.passes.spellings.spelling import FoundLayer, MismatchError

__all__ = ["NAME", "anchors", "recognise"]

NAME = "com.microsoft::MoE"

ACTIVATIONS = {"relu": "relu", "gelu": "gelu_tanh", "silu": "silu"}


def anchors(graph: ir.Graph) -> Iterator[ir.Node]:
    """Every MoE node."""
    for node in graph:
        if node.op_identifier() == ("com.microsoft", "MoE", ""):
            yield node


def recognise(node: ir.Node) -> FoundLayer:
    """The layer that the node is.

    Raises:
        MismatchError: Something that the CPU kernel doesn't compute either, or that an expert can't be.
    """
    inputs = [*node.inputs, *[None] * (8 - len(node.inputs))]
    x, router = inputs[:2]
    assert x is not None and router is not None
    if inputs[6] is not None or inputs[7] is not None:
        raise MismatchError("it has fc3, which ONNX Runtime's CPU kernel doesn't implement", node)
    if node.attributes.get_int("use_sparse_mixer", 0):
        raise MismatchError("it uses the sparse mixer, which ONNX Runtime's CPU kernel ignores", node)
    kind = node.attributes.get_string("activation_type", "relu")
    if kind not in ACTIVATIONS:
        raise MismatchError(f"activation {kind!r} is not known; known are {', '.join(ACTIVATIONS)}", node)

    fc1, fc2 = weight(inputs[2], node), weight(inputs[4], node)
    biases = [None if value is None else weight(value, node) for value in (inputs[3], inputs[5])]
    count, inter, hidden = fc1.shape.numpy()  # type: ignore[union-attr]
    if fc2.shape != [count, hidden, inter]:
        raise MismatchError(f"fc1 is {fc1.shape} and fc2 {fc2.shape}, not [E, I, H] and [E, H, I]", node)
    experts = tuple(
        ExpertWeights(
            up=unstack(fc1, index),
            down=unstack(fc2, index),
            up_bias=None if biases[0] is None else unstack(biases[0], index),
            down_bias=None if biases[1] is None else unstack(biases[1], index),
        )
        for index in range(count)
    )
    top_k = node.attributes.get_int("k", 1)
    glue = NamedTape(f"{node.name}/router")
    scores = glue.op("softmax", "Softmax", [router], axis=-1)
    chosen, index = glue.top_k("top_k", scores, glue.constant("k", [top_k]), axis=-1, largest=True)
    if node.attributes.get_int("normalize_routing_weights", 0) == 1:
        axis = glue.constant("axis", [-1])
        chosen = glue.op(
            "normalized", "Div", [chosen, glue.op("sum", "ReduceSum", [chosen, axis], keepdims=1)]
        )
    return FoundLayer(
        x=x,
        top_k_index=index,
        top_k_weight=chosen,
        experts=experts,
        output=node.outputs[0],
        top_k=top_k,
        hidden_size=hidden,
        activation=ACTIVATIONS[kind],
        glue=glue,
    )
