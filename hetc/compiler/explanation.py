"""Why a unit, or a single neuron, is where it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from hetc.base.errors import UsageError
from hetc.bundle.bundle import Bundle
from hetc.compiler.costs import open_plan
from hetc.plan.neurons import parse_neuron
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.targets import flip_fraction, rank_fraction

__all__ = ["explain", "explain_neuron", "find_unit"]


def explain(target: str | Path | Bundle | Plan, unit: str) -> dict[str, Any]:
    """Says why a unit runs where it does, and what would change that.

        >>> import hetc
        >>> found = hetc.explain("samples/tiny_moe/model.onnx", "layers.1.experts.3")
        >>> found["target"], found["rank"], float(found["digital_from"])
        ('analog', 5, 0.34375)

    Args:
        target: A bundle, a plan, or the path of one or of a model, which is placed as `hetc compile` does by
            default.
        unit: Its id, or that of one of its neurons: `layers.3.experts.17.neurons.5`.

    Returns:
        What the plan knows of it: `target`, `rule`, `reason`, `score`, `rank` from 0, ... `digital_from` is
        the exact fraction from which on it is digital, None where no fraction moves it; `findings` is what
        was found of its layer.

    Raises:
        UsageError: Nothing is there, or the plan has no such unit or neuron.
        InvalidInputError: It cannot be read.
    """
    plan = open_plan(target)
    planned, neuron = find_unit(plan, unit, "the plan" if isinstance(target, (Bundle, Plan)) else str(target))
    if neuron is not None:
        return explain_neuron(plan, planned, neuron)
    findings = [asdict(finding) for finding in plan.findings if finding.layer == f"layers.{planned.layer}"]
    return {**asdict(planned), "digital_from": flip_fraction(planned), "findings": findings}


def find_unit(plan: Plan, name: str, where: str) -> tuple[PlannedUnit, int | None]:
    """The unit of that id, and the number of the neuron that the id names, if it does.

    Raises:
        UsageError: The plan has no such unit; names some that are near.
    """
    unit, neuron = parse_neuron(name) or (name, None)
    if unit not in plan.by_id:
        near = [known for known in plan.by_id if known.split(".")[:2] == unit.split(".")[:2]]
        raise UsageError(
            f"unit {unit!r} is not in {where}; near it are {', '.join((near or list(plan.by_id))[:4])}"
        )
    return plan.by_id[unit], neuron


def explain_neuron(plan: Plan, unit: PlannedUnit, neuron: int) -> dict[str, Any]:
    """What the plan knows of one neuron.

    Raises:
        UsageError: The plan places whole units, or the unit has no such neuron.
    """
    name = f"{unit.id}.neurons.{neuron}"
    if plan.neuron_ranks is None:
        raise UsageError(
            f"{name}: this plan places whole units; compile with --granularity neuron to place neurons"
        )
    if neuron >= unit.neurons:
        raise UsageError(f"{name}: {unit.id} has {unit.neurons:,} neurons, numbered from 0")
    known: dict[str, Any] = {"id": name, "unit": unit.id, "neuron": neuron, "target": unit.target}
    known["rule"] = unit.rule
    if unit.id not in plan.neuron_ranks.ranks:
        return {**known, "reason": unit.reason, "rank": None, "digital_from": None}
    rank = int(plan.neuron_ranks.ranks[unit.id][neuron])
    if not unit.pinned:
        known["target"] = "digital" if rank < plan.digital_frac.count(unit.group_size) else "analog"
    return {
        **known,
        "score": {plan.score: float(plan.neuron_ranks.scores[unit.id][neuron])},
        "rank": rank,
        "group_size": unit.group_size,
        "digital_from": rank_fraction(rank, unit.group_size) if unit.follows_fraction else None,
    }
