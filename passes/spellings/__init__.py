"""The spellings of an MoE layer that hetc knows, one module each."""

from __future__ import annotations

from hetc.passes.spellings.matched import dense_loop, moe_operator, qmoe_operator
from hetc.passes.spellings.spelling import Spelling
from hetc.passes.spellings.tried import gathered_experts, grouped_experts, separate_experts

__all__ = ["SPELLINGS"]

SPELLINGS: tuple[Spelling, ...] = (
    moe_operator,
    qmoe_operator,
    dense_loop,
    gathered_experts,
    grouped_experts,
    separate_experts,
)
"""In the order in which they are tried: the more specific ones first."""
