"""Decides where each unit runs: ranks experts or their neurons, resolves the user's pins, asks the rules.

Tags only; never changes the graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import UsageError
from hetc.hardware.profile import Profile
from hetc.passes.analysis.placement_rules import Request, decide
from hetc.passes.analysis.rank_neurons import rank_blocks
from hetc.plan.fractions import DigitalFraction
from hetc.plan.neurons import NeuronRanks
from hetc.plan.plan import PlannedUnit
from hetc.plan.units import Unit, ranked_kind
from hetc.plan.words import TARGETS, Ranking, Rule, Target

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
    neuron_scores: Mapping[str, NDArray[np.float64]] | None = None,
    block: int = 1,
) -> tuple[tuple[PlannedUnit, ...], NeuronRanks | None]:
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
        neuron_scores: `[neurons]` by unit id; given, neurons are placed instead of whole units.
        block: How many neurons are placed together.

    Returns:
        The units, and the ranks of their neurons where those are placed.

    Raises:
        UsageError: A pin that matches nothing, matches both ways, or asks for what can't be analog; or a unit
            that doesn't divide into neurons.
    """
    pins = _resolve_pins(units, {"digital": digital, "analog": analog})
    kind = ranked_kind(units)
    ranked = [unit for unit in units if unit.kind == kind]
    held = {unit.id: _held(unit, pins) for unit in ranked}
    if neuron_scores is None:
        ranks = _rank_units(ranked, scores, held, ranking)
        request = Request(digital_frac, score, ranking, pins, ranks)
        return tuple(_place(unit, request, scores, profile) for unit in units), None
    _require_neurons(ranked)
    groups = {unit.id: unit.layer if ranking == "layer" else None for unit in ranked}
    order, sizes = rank_blocks(groups, neuron_scores, block, held)
    counts = {unit.id: int((order[unit.id] < digital_frac.count(sizes[unit.id])).sum()) for unit in ranked}
    ranks = {unit.id: (int(order[unit.id].max()), sizes[unit.id]) for unit in ranked}
    request = Request(digital_frac, score, ranking, pins, ranks, counts)
    neuron_ranks = NeuronRanks(order, {unit.id: neuron_scores[unit.id].astype(np.float32) for unit in ranked})
    return tuple(_place(unit, request, scores, profile) for unit in units), neuron_ranks


def _held(unit: Unit, pins: Mapping[str, Target]) -> int:
    """-1 for what is held digital, 1 for what is held analog, 0 for what the score decides."""
    pin: Target | None = "digital" if unit.unsupported else pins.get(unit.id)
    return 0 if pin is None else -1 if pin == "digital" else 1


def _require_neurons(units: Sequence[Unit]) -> None:
    for unit in units:
        if not unit.neurons and not unit.unsupported:
            raise UsageError(
                f"unit {unit.id} doesn't divide into neurons: its matrices don't fit each other; leave "
                "--granularity out"
            )


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
        neurons=unit.neurons,
        digital_neurons=_digital_neurons(unit, target, rule, request),
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


def _digital_neurons(unit: Unit, target: Target, rule: Rule, request: Request) -> int:
    if rule == "score-neurons" and request.digital_neurons is not None:
        return request.digital_neurons[unit.id]
    return unit.neurons if target == "digital" else 0


def _rank_units(
    units: Sequence[Unit], scores: Mapping[str, float], held: Mapping[str, int], ranking: Ranking
) -> dict[str, tuple[int, int]]:
    """(rank, group size) of every unit: those held digital first, then by score, those held analog last."""
    groups: dict[int | None, list[Unit]] = defaultdict(list)
    for unit in units:
        groups[unit.layer if ranking == "layer" else None].append(unit)

    def order(unit: Unit) -> tuple[int, float, int, int]:
        return (held[unit.id], -scores[unit.id], unit.expert or 0, unit.layer or 0)

    return {
        unit.id: (rank, len(group))
        for group in groups.values()
        for rank, unit in enumerate(sorted(group, key=order))
    }
