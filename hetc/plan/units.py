"""Units: the smallest things that are placed, as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hetc.plan.words import Kind

if TYPE_CHECKING:
    from hetc.plan.planned_unit import PlannedUnit

__all__ = ["ALWAYS_DIGITAL", "DENSE", "Matrix", "Unit", "ranked_kind", "vocabulary_of"]

DENSE: tuple[Kind, ...] = ("attention", "shared_expert", "dense_mlp", "lm_head")
"""Kinds that every token passes through: digital by default, and counted as digital parameters."""

ALWAYS_DIGITAL: tuple[Kind, ...] = ("router", "embedding")
"""Kinds that are never placed analog and not counted, as in arXiv 2603.02633."""


@dataclass(frozen=True)
class Matrix:
    """One weight matrix of a unit.

    Attributes:
        projection: Its role: `gate_proj`, `up_proj`, `down_proj`, `q_proj`, ...
        weight: Name of the initializer.
        inputs: Input width, the crossbar's rows.
        outputs: Output width, the crossbar's columns.
        transposed: True where the initializer is `[outputs, inputs]`, as in a checkpoint.
        stream: Number of the matrix's random stream, unique in the model.
    """

    projection: str
    weight: str
    inputs: int
    outputs: int
    transposed: bool
    stream: int


@dataclass(frozen=True)
class Unit:
    """One placeable part of the model.

    Attributes:
        id: `layers.3.experts.17`, `layers.3.attention`, `lm_head`, ...
        kind: What it is.
        layer: Index of the layer, None outside of layers.
        expert: Index of the expert in its layer, None for other kinds.
        matrices: Its weight matrices, in order of use.
        nodes: Names of the nodes that use those weights.
        parameters: Number of weights and biases; a tensor that two units share counts once.
        unsupported: Why it cannot be placed analog; empty if it can.
        load: Share of the tokens that pass through it: top-k over the layer's experts if all are chosen
            equally often, 1 for other kinds.
        cache_width: Numbers that a token leaves in the key and value cache of an attention.
        neurons: Into how many parts it divides that can be placed by themselves (see `hetc.plan.neurons`); 0
            if it is only placed whole.
    """

    id: str
    kind: Kind
    layer: int | None
    expert: int | None
    matrices: tuple[Matrix, ...]
    nodes: tuple[str, ...]
    parameters: int
    unsupported: str = ""
    load: float = 1.0
    cache_width: int = 0
    neurons: int = 0

    @property
    def counted(self) -> bool:
        """Whether the unit's parameters enter the digital or analog share."""
        return self.kind not in ALWAYS_DIGITAL


def ranked_kind(units: Iterable[Unit | PlannedUnit]) -> Kind:
    """Which kind of unit a digital fraction speaks of: experts, or the MLPs of a model without experts."""
    return "expert" if any(unit.kind == "expert" for unit in units) else "dense_mlp"


def vocabulary_of(units: Iterable[Unit | PlannedUnit]) -> int | None:
    """How many tokens the LM head knows; None without one that has a matrix."""
    heads = (unit for unit in units if unit.kind == "lm_head" and unit.matrices)
    return next((head.matrices[0].outputs for head in heads), None)
