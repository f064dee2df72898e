"""The work of one step: what is read, computed and moved, in bytes, operations and crossbar products.

A step is one token of every sequence in a batch (`decode`, each with a context in the cache) or a batch of
whole prompts (`prefill`).

Counted: every matrix of every unit, attention scores, the cache. Not counted: the look-up in the embedding,
norms, softmax and activations, which read next to nothing. A digital expert's weights are read if any token
of the step chose it, which happens with 1 - (1 - load)^tokens. There are as many tiles as the weights need.
A unit with digital neurons does both kinds of work, in the shares of its weights: what is digital is read and
computed, the rest takes tiles. Its input is on both sides anyway, and the two sums meet on the digital one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from hetc.base.errors import UsageError
from hetc.costing.profile import CostProfile
from hetc.plan.neurons import axis_of
from hetc.plan.plan import PlannedUnit
from hetc.plan.units import Matrix

__all__ = [
    "ACCOUNTINGS",
    "PHASES",
    "Accounting",
    "Phase",
    "Work",
    "Workload",
    "sequential_matrices",
    "unit_work",
]

Phase = Literal["prefill", "decode"]
PHASES: tuple[Phase, ...] = get_args(Phase)

Accounting = Literal["serial", "overlapped", "digital-only"]
ACCOUNTINGS: dict[Accounting, str] = {
    "serial": "one thing after the other: memory, compute, analog, transfers",
    "overlapped": "memory, compute, analog and transfers at the same time; the slowest decides",
    "digital-only": "memory and compute; analog hidden and transfers left out, as in arXiv 2603.02633",
}
"""What counts as the time and energy of a step, in words."""

PARALLEL = {"up_proj": "gate_proj", "w3": "w1", "k_proj": "q_proj", "v_proj": "q_proj"}
"""Projections that read the input of another one at the same time."""


MOST_SEQUENCES = 1 << 20
MOST_CONTEXT = 1 << 24


@dataclass(frozen=True)
class Workload:
    """One step.

    Attributes:
        phase: `prefill` or `decode`.
        batch: Sequences.
        context: Tokens of each prompt, or tokens already in each cache.
    """

    phase: Phase = "decode"
    batch: int = 32
    context: int = 1024

    def __post_init__(self) -> None:
        """Raises `UsageError` for a step without tokens, or with more than any system has."""
        least = 1 if self.phase == "prefill" else 0
        if self.phase not in PHASES or self.batch < 1 or self.context < least:
            raise UsageError(
                f"a {self.phase} of batch {self.batch} and context {self.context} has no tokens; phases are "
                f"{' and '.join(PHASES)}"
            )
        if self.batch > MOST_SEQUENCES or self.context > MOST_CONTEXT:
            raise UsageError(
                f"batch {self.batch} and context {self.context}: at most {MOST_SEQUENCES} sequences of "
                f"{MOST_CONTEXT} tokens are calculated"
            )

    @property
    def tokens(self) -> int:
        """Tokens that pass through every layer."""
        return self.batch * (self.context if self.phase == "prefill" else 1)

    @property
    def pairs(self) -> int:
        """Attention scores per head: each token looks at those before it and at itself."""
        if self.phase == "decode":
            return self.batch * (self.context + 1)
        return self.batch * self.context * (self.context + 1) // 2

    @property
    def cached(self) -> int:
        """Tokens whose keys and values move: read once and written once each, as far as the phase does."""
        return self.tokens * 2 if self.phase == "prefill" else self.batch * (self.context + 1)


@dataclass(frozen=True)
class Work:
    """What a step does, as physical quantities; expected values where routing decides.

    Attributes:
        weight_bytes: Weights read from memory.
        cache_bytes: Keys and values read and written.
        operations: Digital floating-point operations, a multiplication and an addition being two.
        products: Products of one tile with one vector.
        rounds: Products that have to wait for each other, one after the other.
        link_bytes: Activations that enter and leave analog units.
    """

    weight_bytes: float = 0
    cache_bytes: float = 0
    operations: float = 0
    products: float = 0
    rounds: float = 0
    link_bytes: float = 0

    def __add__(self, other: Work) -> Work:
        mine, theirs = asdict(self), asdict(other)
        return Work(**{key: mine[key] + theirs[key] for key in mine})


def unit_work(unit: PlannedUnit, costs: CostProfile, workload: Workload, load: float | None = None) -> Work:
    """The work of one unit in a step.

    Args:
        unit: The unit; its target decides what kind of work.
        costs: The system; only its tile and the bytes of a number are used.
        workload: The step. A prefill computes logits of each prompt's last token only.
        load: Share of the tokens that visit it; None for the plan's.
    """
    if unit.kind == "embedding":
        return Work()
    load = unit.load if load is None else load
    tokens = workload.batch if unit.kind == "lm_head" else workload.tokens
    rows, size = load * tokens, costs.digital.number_bytes.si
    weights = sum(matrix.inputs * matrix.outputs for matrix in unit.matrices)
    work, share = _attention_work(unit, workload, size), unit.digital_share
    visited = 1 - (1 - load) ** tokens
    work += Work(weight_bytes=unit.digital_parameters * size * visited, operations=2 * weights * share * rows)
    if unit.target == "digital":
        return work
    stages = sequential_matrices(unit)
    if unit.kind == "expert":  # the activation stays beside the tiles
        crossing = unit.matrices[0].inputs + unit.matrices[-1].outputs
    else:
        inputs = sum(matrices[0].inputs for matrices in stages)
        crossing = inputs + sum(_analog_outputs(unit, matrix) for matrix in unit.matrices)
    return work + Work(
        products=rows * sum(_tiles(unit, matrix, costs) for matrix in unit.matrices),
        rounds=rows * len(stages),
        link_bytes=rows * crossing * size,
    )


def sequential_matrices(unit: PlannedUnit) -> list[list[Matrix]]:
    """The unit's matrices, grouped in the order in which they wait for each other."""
    stages: dict[str, list[Matrix]] = defaultdict(list)
    for matrix in unit.matrices:
        stages[PARALLEL.get(matrix.projection, matrix.projection)].append(matrix)
    return list(stages.values())


def _attention_work(unit: PlannedUnit, workload: Workload, number_bytes: float) -> Work:
    """Scores and weighted sums, digital wherever the projections are, and the cache's traffic."""
    if unit.kind != "attention":
        return Work()
    by_name = {matrix.projection: matrix for matrix in unit.matrices}
    query = by_name.get("q_b_proj") or by_name.get("q_proj")
    output = by_name.get("o_proj")
    values = output.inputs if output else 0
    queries = query.outputs if query else values
    return Work(
        cache_bytes=workload.cached * unit.cache_width * number_bytes,
        operations=2.0 * workload.pairs * (queries + values),
    )


def _analog_outputs(unit: PlannedUnit, matrix: Matrix) -> int:
    divided = unit.neurons and axis_of(unit.kind, unit.matrices, matrix) == "outputs"
    return round(matrix.outputs * (1 - unit.digital_share)) if divided else matrix.outputs


def _tiles(unit: PlannedUnit, matrix: Matrix, costs: CostProfile) -> int:
    """Tiles of the analog outputs. Digital inputs leave the K-slices that they were in, and so no tile."""
    rows, columns = int(costs.analog.tile_rows.value), int(costs.analog.tile_columns.value)
    return math.ceil(matrix.inputs / rows) * math.ceil(_analog_outputs(unit, matrix) / columns)
