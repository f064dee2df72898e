"""The closed sets of words that plans are written in."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["KINDS", "RANKINGS", "TARGETS", "Kind", "Ranking", "Rule", "Target"]

Target = Literal["analog", "digital"]
"""Where a unit runs."""
TARGETS: tuple[Target, ...] = get_args(Target)

Kind = Literal["expert", "attention", "shared_expert", "dense_mlp", "lm_head", "router", "embedding"]
"""What a unit is."""
KINDS: tuple[Kind, ...] = get_args(Kind)

Rule = Literal[
    "always-digital",
    "unsupported",
    "pinned",
    "densely-activated",
    "score-top-k",
    "score-rest",
    "score-neurons",
    "budget",
]
"""What fixed a unit's target."""

Ranking = Literal["layer", "model"]
"""Which experts compete with each other."""
RANKINGS: tuple[Ranking, ...] = get_args(Ranking)
