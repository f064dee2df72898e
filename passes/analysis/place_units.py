"""Decides where each unit runs: rules with reasons, a fraction of the experts, and the user's pins.

Tags only; never changes the graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase

from hetc.base.errors import UsageError
from hetc.hardware.profile import Profile
from hetc.plan.plan import PlannedUnit, digital_count
from hetc.plan.units import DENSE, Unit

__all__ = ["RANKINGS", "place_units"]

RANKINGS = ("layer", "model")
"""Which experts compete with each other."""


def place_units(
    units: Sequence[Unit],
    scores: Mapping[str, float],
    profile: Profile,
    *,
    digital_frac: Decimal,
    score: str,
    ranking: str = "layer",
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
    pins = _resolve_pins(units, digital, analog)
    ranks = _rank_experts(units, scores, pins, ranking)
    return tuple(
        _place(unit, pins.get(unit.id), ranks.get(unit.id), scores, profile, digital_frac, score, ranking)
        for unit in units
    )


def _place(
    unit: Unit,
    pin: str | None,
    place: tuple[int, int] | None,
    scores: Mapping[str, float],
    profile: Profile,
    digital_frac: Decimal,
    score: str,
    ranking: str,
) -> PlannedUnit:
    rank, group_size = place or (None, 0)
    if not unit.counted:
        target, rule, reason = "digital", "always-digital", f"a {unit.kind} is never placed analog"
    elif unit.unsupported:
        target, rule, reason = "digital", "unsupported", unit.unsupported
    elif pin is not None:
        target, rule, reason = pin, "pinned", f"the user pinned it {pin}"
    elif unit.kind in DENSE:
        target, rule = "digital", "densely-activated"
        reason = "every token passes through it, so its noise would reach every token"
    else:
        assert rank is not None  # what is left is an expert, and experts are ranked
        kept = digital_count(digital_frac, group_size)
        target, rule = ("digital", "score-top-k") if rank < kept else ("analog", "score-rest")
        group = f"layer {unit.layer}" if ranking == "layer" else "the model"
        reason = f"{score} ranks it {rank + 1} of {group_size} in {group}; the first {kept} are digital"
    return PlannedUnit(
        id=unit.id,
        kind=unit.kind,
        layer=unit.layer,
        expert=unit.expert,
        target=target,
        rule=rule,
        reason=reason,
        score={score: scores[unit.id]} if unit.id in scores else {},
        rank=rank,
        group_size=group_size,
        parameters=unit.parameters,
        counted=unit.counted,
        tiles=sum(profile.tiles(matrix.inputs, matrix.outputs) for matrix in unit.matrices),
        pinned=pin is not None,
        matrices=unit.matrices,
        nodes=unit.nodes,
        load=unit.load,
        cache_width=unit.cache_width,
    )


def _resolve_pins(units: Sequence[Unit], digital: Iterable[str], analog: Iterable[str]) -> dict[str, str]:
    pins: dict[str, str] = {}
    for target, patterns in (("digital", digital), ("analog", analog)):
        for pattern in patterns:
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
    units: Sequence[Unit], scores: Mapping[str, float], pins: Mapping[str, str], ranking: str
) -> dict[str, tuple[int, int]]:
    """(rank, group size) of every expert: pinned digital first, by score, pinned analog last."""
    groups: dict[int | None, list[Unit]] = defaultdict(list)
    for unit in units:
        if unit.kind == "expert":
            groups[unit.layer if ranking == "layer" else None].append(unit)
    first = {"digital": 0, "analog": 2}

    def order(unit: Unit) -> tuple[int, float, int, int]:
        digital_first = 0 if unit.unsupported else first.get(pins.get(unit.id, ""), 1)
        return (digital_first, -scores[unit.id], unit.expert or 0, unit.layer or 0)

    return {
        unit.id: (rank, len(group))
        for group in groups.values()
        for rank, unit in enumerate(sorted(group, key=order))
    }
