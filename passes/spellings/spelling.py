"""What a spelling of an MoE layer is, and what recognising one gives.

A spelling is a module with a `NAME`, `anchors(graph)` and `recognise(node)`. The rest is done by
`hetc.passes.rewrite.raise_experts`: it builds the canonical layer, names it, converts types and shapes, and
removes what is no longer used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import onnx_ir as ir

from hetc.passes.canonical.canonical_layer import ExpertWeights
from hetc.passes.canonical.named_tape import NamedTape

__all__ = ["FoundLayer", "MismatchError", "Spelling"]


class MismatchError(Exception):
    """A node that suggested a spelling turned out not to be one of its layers.

    Args:
        reason: What doesn't match, for people, without the node's name: `activation 'identity' is not known`.
        node: The first node that doesn't match.
        matched: How many parts of the layer had matched before. Where several spellings decline one layer,
            the one that matched most is reported as the nearest.
    """

    def __init__(self, reason: str, node: ir.Node, matched: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.node, self.matched = reason, node, matched


@dataclass(frozen=True)
class FoundLayer:
    """Everything that the canonical layer needs to stand in for the one that was found.

    Attributes:
        x: Tokens, `[..., H]`, float32, float16 or bfloat16.
        top_k_index: The experts that each token chose, `[..., K]`, any integer type, each in 0 .. E-1.
        top_k_weight: Their weights, `[..., K]`, of any float type.
        experts: The constants of each expert, in order of expert index. Values that are not initializers of
            the graph yet (from `hetc.passes.spellings.constants`) get their names in the pass.
        output: The value that the canonical layer replaces, of the shape and type of x.
        top_k: K.
        hidden_size: H.
        activation: A name in `hetc.operators.activations.ACTIVATIONS`.
        activation_attributes: Those that nodes with this activation have besides.
        transpose_weight: Whether weights are `[out, in]`.
        glue: New nodes that make the inputs above, where the routing sat inside of an operator.
        difference: Largest difference between the layer as it is and this one that was seen on its true
            weights, relative to the mean term; None where operators were matched, not tried.
    """

    x: ir.Value
    top_k_index: ir.Value
    top_k_weight: ir.Value
    experts: tuple[ExpertWeights, ...]
    output: ir.Value
    top_k: int
    hidden_size: int
    activation: str
    activation_attributes: Mapping[str, float] = field(default_factory=dict)
    transpose_weight: bool = True
    glue: NamedTape | None = None
    difference: float | None = None


class Spelling(Protocol):
    """One way to write an MoE layer; a module of this package satisfies it."""

    NAME: str
    """For people: `com.microsoft::MoE`."""

    def anchors(self, graph: ir.Graph) -> Iterable[ir.Node]:
        """The nodes that suggest a layer of this spelling, one for each layer, in graph order."""

    def recognise(self, node: ir.Node) -> FoundLayer:
        """The layer around an anchor. Changes nothing.

        Raises:
            MismatchError: It isn't one of this spelling.
        """
