"""Decides where each unit runs: ranks the experts, resolves the user's pins, and asks the rules.

Tags only; never changes the graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from hetc.base.errors import UsageError
from hetc.hardware.profile import Profile
from hetc.passes.analysis.placement_rules import Request, decide
from hetc.plan.fractions import DigitalFraction
from hetc.plan.plan import PlannedUnit
from hetc.plan.units import Unit
from hetc.plan.words import TARGETS, Ranking, Target

__all__ = ["place_units"]


def place_units(
    units: Sequence[Unit],
    scores: Mapping[str, float],
    profile: Profile,
    *,
    digital_frac: DigitalFraction,
    score: str,
    ranking: Ranking = "layer",
    digital: Iterable[str] = (),
    analog: Iterable[str] = (),
) -> tuple[PlannedUnit, ...]:
    """Gives every unit a target, the rule that fixed it, and the reason.

    Args:
        units: From `find_units`.
        scores: From `score_experts`, by unit id.
        profile: The hardware; only its tile size is used.
        digital_frac: Fraction of the experts of each group to keep digital.
        score: Name of the score, for the reasons.
        ranking: `layer`, or `model` for one order over all layers.
        digital: Patterns (shell style) of unit ids to pin digital.
        analog: Patterns of unit ids to pin analog.

    Raises:
        UsageError: A pin that matches nothing, matches both ways, or asks for what can't be analog.
    """
    pins = _resolve_pins(units, {"digital": digital, "analog": analog})
    ranks = _rank_experts(units, scores, pins, ranking)
    request = Request(digital_frac, score, ranking, pins, ranks)
    return tuple(_place(unit, request, scores, profile) for unit in units)


def _place(unit: Unit, request: Request, scores: Mapping[str, float], profile: Profile) -> PlannedUnit:
    target, rule, reason = decide(unit, request)
    rank, group_size = request.ranks.get(unit.id, (None, 0))
    return PlannedUnit(
        id=unit.id,
        kind=unit.kind,
        layer=unit.layer,
        expert=unit.expert,
        target=target,
        rule=rule,
        reason=reason,
        score={request.score: scores[unit.id]} if unit.id in scores else {},
        rank=rank,
        group_size=group_size,
        parameters=unit.parameters,
        counted=unit.counted,
        tiles=sum(profile.tiles(matrix.inputs, matrix.outputs) for matrix in unit.matrices),
        pinned=unit.id in request.pins,
        matrices=unit.matrices,
        nodes=unit.nodes,
        load=unit.load,
        cache_width=unit.cache_width,
    )


def _resolve_pins(units: Sequence[Unit], patterns: Mapping[Target, Iterable[str]]) -> dict[str, Target]:
    pins: dict[str, Target] = {}
    for target in reversed(TARGETS):
        for pattern in patterns[target]:
            matched = [unit for unit in units if fnmatchcase(unit.id, pattern)]
            if not matched:
                known = ", ".join(sorted({unit.id for unit in units})[:4])
                raise UsageError(f"--{target} {pattern!r} matches no unit; ids look like {known}")
            for unit in matched:
                if pins.setdefault(unit.id, target) != target:
                    raise UsageError(f"unit {unit.id} is pinned both digital and analog ({pattern!r})")
                if target == "analog" and not unit.counted:
                    raise UsageError(f"unit {unit.id} cannot be analog: {unit.kind} units are always digital")
                if target == "analog" and unit.unsupported:
                    raise UsageError(f"unit {unit.id} cannot be analog: {unit.unsupported}")
    return pins


def _rank_experts(
    units: Sequence[Unit], scores: Mapping[str, float], pins: Mapping[str, Target], ranking: Ranking
) -> dict[str, tuple[int, int]]:
    """(rank, group size) of every expert: pinned digital first, by score, pinned analog last."""
    groups: dict[int | None, list[Unit]] = defaultdict(list)
    for unit in units:
        if unit.kind == "expert":
            groups[unit.layer if ranking == "layer" else None].append(unit)

    def order(unit: Unit) -> tuple[int, float, int, int]:
        pin: Target | None = "digital" if unit.unsupported else pins.get(unit.id)
        place = 1 if pin is None else 0 if pin == "digital" else 2
        return (place, -scores[unit.id], unit.expert or 0, unit.layer or 0)

    return {
        unit.id: (rank, len(group))
        for group in groups.values()
        for rank, unit in enumerate(sorted(group, key=order))
    }
