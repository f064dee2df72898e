"""The spellings of an MoE layer that hetc knows, one module each."""

from __future__ import annotations

from hetc.base.errors import InvalidInputError
from hetc.base.plugins import load_plugins
from hetc.passes.spellings.matched import dense_loop, moe_operator, qmoe_operator
from hetc.passes.spellings.spelling import Spelling
from hetc.passes.spellings.tried import gathered_experts, grouped_experts, separate_experts

__all__ = ["SPELLINGS", "known_spellings"]

SPELLINGS: tuple[Spelling, ...] = (
    moe_operator,
    qmoe_operator,
    dense_loop,
    gathered_experts,
    grouped_experts,
    separate_experts,
)
"""In the order in which they are tried: the more specific ones first."""


def known_spellings() -> tuple[Spelling, ...]:
    """hetc's own spellings, then those of installed packages (entry points `hetc.spellings`).

    Raises:
        InvalidInputError: A package registers something that is no spelling.
    """
    foreign: dict[str, Spelling] = load_plugins("hetc.spellings")
    for name, spelling in foreign.items():
        for part in ("NAME", "anchors", "recognise"):
            if not hasattr(spelling, part):
                raise InvalidInputError(f"hetc.spellings {name!r} has no {part}; a spelling needs one")
    return (*SPELLINGS, *foreign.values())
