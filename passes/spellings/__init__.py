"""The spellings of an MoE layer that hetc knows, one module each, and those that other packages add.

A package adds one under the entry-point group `hetc.spellings`: a module or an object that is what
`hetc.passes.spellings.spelling.Spelling` says.
"""

from __future__ import annotations

from typing import cast

from hetc.base.errors import InvalidInputError
from hetc.base.plugins import load_plugins
from hetc.passes.spellings.matched import dense_loop, moe_operator, qmoe_operator
from hetc.passes.spellings.spelling import Spelling
from hetc.passes.spellings.tried import gathered_experts, grouped_experts, separate_experts, stacked_experts

__all__ = ["GROUP", "SPELLINGS", "known_spellings"]

GROUP = "hetc.spellings"
"""The entry-point group of other packages' spellings."""

SPELLINGS: tuple[Spelling, ...] = (
    moe_operator,
    qmoe_operator,
    dense_loop,
    gathered_experts,
    grouped_experts,
    separate_experts,
    stacked_experts,
)
"""In the order in which they are tried: the more specific ones first."""


def known_spellings() -> tuple[Spelling, ...]:
    """hetc's own spellings, then those of installed packages by the names of their entry points.

    Raises:
        InvalidInputError: An entry point can't be loaded, or is no spelling.
    """
    return (*SPELLINGS, *(_checked(name, plugin) for name, plugin in load_plugins(GROUP).items()))


def _checked(name: str, plugin: object) -> Spelling:
    missing = [part for part in ("anchors", "recognise") if not callable(getattr(plugin, part, None))]
    if not isinstance(getattr(plugin, "NAME", None), str):
        missing.insert(0, "NAME")
    if missing:
        absent = " and no ".join(missing)
        raise InvalidInputError(f"plugin {name!r} of the group {GROUP} is no spelling: it has no {absent}")
    return cast(Spelling, plugin)
