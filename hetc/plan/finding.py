"""What was found in a model that needs saying, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TRUE_WEIGHTS_TOLERANCE", "Finding"]

TRUE_WEIGHTS_TOLERANCE = 1e-4
"""Largest `Finding.difference` of a layer that is raised: float32 sums of a few thousand numbers."""


@dataclass(frozen=True)
class Finding:
    """One MoE layer that was not canonical, or what looked like one; or products that belong to no unit.

    Attributes:
        layer: `layers.3`; the name of a node for a layer that was declined and has no number; `model` for
            what is no MoE layer.
        spelling: How it was written, or the spelling that comes nearest; empty for what is no MoE layer.
        raised: Whether it is canonical now; if not, it stays as it is, and digital.
        reason: Why it was declined: the first thing that doesn't match; empty if it was raised.
        node: Name of the node that the reason is about; of the layer's first node if it was raised.
        difference: Largest difference of the canonical form, seen on the layer's true weights and random
            tokens, relative to the mean term of the sum over experts; None where it was not tried, because
            its operators say what it is.
    """

    layer: str
    spelling: str
    raised: bool
    reason: str = ""
    node: str = ""
    difference: float | None = None

    def __str__(self) -> str:
        """One line for people."""
        if self.raised:
            seen = "" if self.difference is None else f"; on its true weights {self.difference:.1e} apart"
            return f"{self.layer} was spelled {self.spelling}{seen}"
        if not self.spelling:
            return self.reason
        return f"{self.layer}: nearest is {self.spelling}, but at node {self.node!r} {self.reason}"
