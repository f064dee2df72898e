"""The rules that decide where a unit runs, in order: the first that has something to say decides.

A new rule is a function here, a line in `RULES`, and a word in `hetc.plan.words.Rule`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Union

from hetc.plan.fractions import DigitalFraction
from hetc.plan.units import DENSE, Unit
from hetc.plan.words import Ranking, Rule, Target

__all__ = ["RULES", "Request", "decide"]


@dataclass(frozen=True)
class Request:
    """What a placement asks for.

    Attributes:
        digital_frac: Fraction of each group to keep digital.
        score: Name of the score that ranks.
        ranking: Which units compete.
        pins: Targets that the user fixed, by unit id.
        ranks: Rank among its group, 0 = first to be digital, and the group's size, by the id of every unit
            that the fraction speaks of: experts, or the MLPs of a model without experts.
        digital_neurons: By the same ids, how many neurons are digital; None where whole units are placed.
    """

    digital_frac: DigitalFraction
    score: str
    ranking: Ranking
    pins: Mapping[str, Target]
    ranks: Mapping[str, tuple[int, int]]
    digital_neurons: Mapping[str, int] | None = None


Decision = Union[tuple[Target, str], None]
"""Target and reason, or None from a rule that leaves a unit to the next one."""


def always_digital(unit: Unit, request: Request) -> Decision:
    """Routers and embeddings, which are not counted either."""
    return None if unit.counted else ("digital", f"units of kind {unit.kind} are never placed analog")


def unsupported(unit: Unit, request: Request) -> Decision:
    """What no crossbar can hold."""
    return ("digital", unit.unsupported) if unit.unsupported else None


def pinned(unit: Unit, request: Request) -> Decision:
    """What the user fixed."""
    pin = request.pins.get(unit.id)
    return None if pin is None else (pin, f"the user pinned it {pin}")


def densely_activated(unit: Unit, request: Request) -> Decision:
    """Modules that every token passes through, as in arXiv 2603.02633."""
    if unit.kind in DENSE and unit.id not in request.ranks:
        return "digital", "every token passes through it, so its noise would reach every token"
    return None


def score_neurons(unit: Unit, request: Request) -> Decision:
    """Of neurons, those that the score ranks first; a unit is digital where all of its neurons are."""
    if request.digital_neurons is None:
        return None
    digital, (_, group_size) = request.digital_neurons[unit.id], request.ranks[unit.id]
    kept = request.digital_frac.count(group_size)
    reason = (
        f"{digital} of its {unit.neurons} neurons are among the first {kept} of {group_size} by "
        f"{request.score} in {_group(unit, request)}"
    )
    return ("digital" if digital == unit.neurons else "analog"), reason


def score_top_k(unit: Unit, request: Request) -> Decision:
    """The units that the score ranks first in their group, as many as the fraction says."""
    kept, reason = _by_rank(unit, request)
    return ("digital", reason) if kept else None


def score_rest(unit: Unit, request: Request) -> Decision:
    """All others."""
    _, reason = _by_rank(unit, request)
    return "analog", reason


RULES: tuple[tuple[Rule, Callable[[Unit, Request], Decision]], ...] = (
    ("always-digital", always_digital),
    ("unsupported", unsupported),
    ("pinned", pinned),
    ("densely-activated", densely_activated),
    ("score-neurons", score_neurons),
    ("score-top-k", score_top_k),
    ("score-rest", score_rest),
)
"""In the order in which they are asked. A budget overrules the last four (`hetc.costing.budget`)."""


def decide(unit: Unit, request: Request) -> tuple[Target, Rule, str]:
    """Target of a unit, the rule that fixed it, and the reason."""
    for rule, judge in RULES:
        decision = judge(unit, request)
        if decision is not None:
            return decision[0], rule, decision[1]
    raise AssertionError(f"no rule for unit {unit.id}")


def _by_rank(unit: Unit, request: Request) -> tuple[bool, str]:
    rank, group_size = request.ranks[unit.id]
    kept = request.digital_frac.count(group_size)
    group = _group(unit, request)
    reason = f"{request.score} ranks it {rank + 1} of {group_size} in {group}; the first {kept} are digital"
    return rank < kept, reason


def _group(unit: Unit, request: Request) -> str:
    return f"layer {unit.layer}" if request.ranking == "layer" else "the model"
