"""Plans for live transformers models, without an export between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from hetc.hardware.profile import Profile
from hetc.huggingface.experts import STACKED, experts_modules
from hetc.plan.fractions import DigitalFraction
from hetc.plan.neurons import NeuronRanks, count_neurons
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.targets import targets_at
from hetc.plan.units import Matrix
from hetc.plan.weight_roles import layer_name, unit_of_weight
from hetc.plan.words import Kind

__all__ = ["live_plan"]


def live_plan(
    model: nn.Module,
    profile: Profile,
    *,
    digital_frac: float = 0.0,
    dense: Collection[Kind] = (),
    heads: int = 0,
) -> Plan:
    """A plan that ranks a layer's experts by their number.

    Args:
        model: A transformers model behind the experts interface.
        profile: The hardware.
        digital_frac: Share of each layer's experts that is digital.
        dense: Kinds of other units that are analog.
        heads: Key/value heads of an attention; above 0 single neurons are digital, in a random order over all
            units that are analog.
    """
    matrices: dict[tuple[str, Kind, int | None], list[Matrix]] = defaultdict(list)
    streams = iter(range(2**31))
    for name, module in model.named_modules():
        role = unit_of_weight(f"{name}.weight") if isinstance(module, nn.Linear) else None
        if role is not None and role.kind in dense:
            outputs, inputs = module.weight.shape
            matrix = Matrix(role.projection, f"{name}.weight", inputs, outputs, True, next(streams))
            matrices[role.unit_id, role.kind, role.layer].append(matrix)
    units = [
        _unit(unit_id, kind, layer, None, tuple(found), rank=None, group=0)
        for (unit_id, kind, layer), found in matrices.items()
    ]
    for path, module in experts_modules(model):
        for expert in range(module.num_experts):
            found = tuple(
                Matrix(f"{projection}_proj", f"{projection}.{expert}", inputs, outputs, True, next(streams))
                for projection, inputs, outputs in _shapes(module)
            )
            name = layer_name(path)
            layer = int(name.split(".")[1])
            units.append(
                _unit(f"{name}.experts.{expert}", "expert", layer, expert, found, expert, module.num_experts)
            )
    plan = Plan(tuple(units), profile, 0, DigitalFraction(0), "layer", "maxnn", 0, {}, range_rule="dynamic")
    if heads:
        plan = _rank_neurons(plan, heads)
    return replace(plan, units=targets_at(plan, digital_frac), digital_frac=DigitalFraction(digital_frac))


def _rank_neurons(plan: Plan, heads: int) -> Plan:
    """The plan with every neuron in one group, in a random order; one expert goes before all others."""
    sizes = {unit.id: count_neurons(unit.kind, unit.matrices, heads) for unit in plan.units}
    order = np.random.default_rng(10).permutation(sum(sizes.values())).astype(np.int32)
    parts = np.split(order, np.cumsum([*sizes.values()])[:-1])
    ranks = dict(zip(sizes, parts, strict=True))
    first = next(unit.id for unit in plan.units if unit.expert == 1)
    ranks[first] = np.zeros_like(ranks[first])
    units = tuple(
        replace(
            unit,
            rule="score-rest",
            pinned=False,
            rank=int(ranks[unit.id].max()),
            group_size=len(order),
            neurons=sizes[unit.id],
        )
        for unit in plan.units
    )
    scores = {unit: found.astype(np.float32) for unit, found in ranks.items()}
    return replace(plan, units=units, neuron_ranks=NeuronRanks(ranks, scores))


def _shapes(module: Any) -> list[tuple[str, int, int]]:
    """Projection, inputs and outputs of an expert's matrices."""
    found = []
    for name, projections in STACKED.items():
        if name in module._parameters:
            values = getattr(module, name)
            outputs, inputs = values.shape[1:][:: -1 if module.is_transposed else 1]
            found += [(projection, inputs, outputs // len(projections)) for projection in projections]
    return found


def _unit(
    unit_id: str,
    kind: Kind,
    layer: int | None,
    expert: int | None,
    matrices: tuple[Matrix, ...],
    rank: int | None,
    group: int,
) -> PlannedUnit:
    return PlannedUnit(
        id=unit_id,
        kind=kind,
        layer=layer,
        expert=expert,
        target="analog",
        rule="score-rest" if kind == "expert" else "pinned",
        reason="for a test",
        score={},
        rank=rank,
        group_size=group,
        parameters=sum(matrix.inputs * matrix.outputs for matrix in matrices),
        counted=True,
        tiles=0,
        pinned=kind != "expert",
        matrices=matrices,
        nodes=(),
    )
