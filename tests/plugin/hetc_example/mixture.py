"""A spelling: `example::Mixture(x, index, weight, up_0, down_0, up_1, down_1, ...)`, experts of one ReLU."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from hetc.passes.canonical.canonical_layer import ExpertWeights
from hetc.passes.spellings.spelling import FoundLayer, MismatchError

NAME = "example::Mixture"


def anchors(graph: ir.Graph) -> Iterator[ir.Node]:
    """Every Mixture node."""
    yield from (node for node in graph if node.op_identifier() == ("example", "Mixture", ""))


def recognise(node: ir.Node) -> FoundLayer:
    """The layer that the node is."""
    x, index, weight, *matrices = node.inputs
    if x is None or index is None or weight is None or len(matrices) % 2:
        raise MismatchError("an expert has no down projection", node)
    pairs = zip(matrices[::2], matrices[1::2], strict=True)
    return FoundLayer(
        x=x,
        top_k_index=index,
        top_k_weight=weight,
        experts=tuple(ExpertWeights(up=up, down=down) for up, down in pairs if up and down),
        output=node.outputs[0],
        top_k=2,
        hidden_size=8,
        activation="relu",
    )
