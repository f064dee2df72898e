"""com.microsoft::MoE(x, router_probs, fc1, fc1_bias?, fc2, fc2_bias?), as onnxruntime-genai's builder has it.

The routing sits inside of the operator; it is rebuilt as ONNX Runtime's CPU kernel does it
(contrib_ops/cpu/moe/moe_cpu.cc): float32 softmax over all experts, top-k, and with
`normalize_routing_weights` a division by their sum. What that kernel doesn't do is declined: fc3, the sparse
mixer (which it ignores), and weights of the older shape [E, H, I] (whose memory it reads as [E, I, H]).

Concatenated gate and up (`swiglu_fusion` 2) become views; interleaved ones (1) have no contiguous rows and
are copied apart when they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import onnx_ir as ir

from hetc.passes.canonical.named_tape import NamedTape
from hetc.passes.spellings.initializers import unstack, weight
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

NAME = "com.microsoft::MoE"


def anchors(graph: ir.Graph) -> Iterator[ir.Node]:
    """Every MoE node."""
    yield from fused_nodes(graph, "MoE")


def recognise(node: ir.Node) -> FoundLayer:
    """The layer that the node is.

    Raises:
        MismatchError: Something that the CPU kernel doesn't do, or that an expert can't be.
    """
    refuse(
        node,
        {6: "fc3_experts_weights", 7: "fc3_experts_bias"},
        {"use_sparse_mixer": 0, "swiglu_limit_after_activation": 0},
    )
    x, router, fc1_input, fc1_bias_input, fc2_input, fc2_bias_input = [*node.inputs, None][:6]
    assert x is not None and router is not None
    fc1, fc2 = weight(fc1_input, node), weight(fc2_input, node)
    assert fc1.shape is not None and fc2.shape is not None
    if len(fc2.shape) != 3:
        raise MismatchError(f"fc2 is {fc2.shape}, not [E, H, I]", node)
    count, hidden, inter = fc2.shape.numpy()
    form = expert_form(node, inter)
    if fc1.shape != [count, inter if form.gate is None else 2 * inter, hidden]:
        raise MismatchError(f"fc1 is {fc1.shape}, which doesn't fit fc2, {fc2.shape}", node)
    width = None if x.shape is None else x.shape[-1]
    if not isinstance(width, int) and form.gate is None and hidden != inter:
        raise MismatchError("the width of x isn't known, so [E, I, H] and [E, H, I] look alike", node)
    if isinstance(width, int) and width != hidden:
        raise MismatchError(f"fc1 is {fc1.shape} where x has {width} columns, not [E, I, H]", node)
    fc1_bias = None if fc1_bias_input is None else weight(fc1_bias_input, node)
    fc2_bias = None if fc2_bias_input is None else weight(fc2_bias_input, node)
    weights = partial(unstack, fc1), partial(unstack, fc2)
    biases = partial(unstack, fc1_bias), partial(unstack, fc2_bias)

    glue = NamedTape(f"{node.name}/router")
    scores = glue.op("softmax", "Softmax", [glue.float32("float32", router)], axis=-1)
    chosen, index = choose_experts(glue, node, scores, count)
    total = sum_of_weights(glue, node, chosen)
    if total is not None:
        chosen = glue.op("normalized", "Div", [chosen, total])
    return fused_layer(node, form, FusedStacks(*weights, *biases, count, hidden), index, chosen, glue)
