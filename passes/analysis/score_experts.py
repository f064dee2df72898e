"""One number per expert, higher = keep digital first, from the weights or from a file. Nothing is changed.

Scores are registered by name, so that each is one function and the command line offers them all. Other
packages add theirs under the entry-point group `hetc.scores`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.plugins import load_plugins
from hetc.model.weights import largest_norms, neuron_norms
from hetc.plan.units import Matrix, Unit, ranked_kind

__all__ = ["SCORES", "Score", "known_scores", "score_experts"]


def maxnn(model: ir.Model, experts: Sequence[Unit], units: Sequence[Unit], seed: int) -> list[float]:
    """MaxNNScore of arXiv 2603.02633: product over the projections of the largest neuron norm.

    A neuron is an output unit of each projection.
    """
    return [math.prod(_largest_norm(model, matrix) for matrix in expert.matrices) for expert in experts]


def maxnn_down_inputs(
    model: ir.Model, experts: Sequence[Unit], units: Sequence[Unit], seed: int
) -> list[float]:
    """MaxNNScore with the down projection's neurons taken as its inputs, the paper's other reading."""

    def largest(matrix: Matrix) -> float:
        if matrix.projection != "down_proj":
            return _largest_norm(model, matrix)
        return _finite(largest_norms(model, matrix).column, matrix)

    return [math.prod(map(largest, expert.matrices)) for expert in experts]


def router_norm(model: ir.Model, experts: Sequence[Unit], units: Sequence[Unit], seed: int) -> list[float]:
    """Euclidean norm of the expert's row of the router."""
    rows: dict[int | None, np.ndarray] = {}
    sizes = {layer: sum(e.layer == layer for e in experts) for layer in {e.layer for e in experts}}
    for unit in units:
        for matrix in unit.matrices if unit.kind == "router" else ():
            if matrix.outputs == sizes.get(unit.layer):
                rows[unit.layer] = neuron_norms(model, matrix)
    missing = [expert.id for expert in experts if expert.layer not in rows]
    if missing:
        raise InvalidInputError(f"score router-norm: no router weight was found for {missing[0]}; use maxnn")
    return [float(rows[expert.layer][expert.expert or 0]) for expert in experts]


def random(model: ir.Model, experts: Sequence[Unit], units: Sequence[Unit], seed: int) -> list[float]:
    """Uniform numbers from the seed: the control that a comparison needs."""
    return [
        float(np.random.default_rng([seed, expert.layer or 0, expert.expert or 0]).random())
        for expert in experts
    ]


Score = Callable[[ir.Model, Sequence[Unit], Sequence[Unit], int], list[float]]
"""Takes the model, its experts, all its units and a seed; gives one finite number for each expert."""

SCORES: dict[str, Score] = {
    "maxnn": maxnn,
    "maxnn-down-inputs": maxnn_down_inputs,
    "router-norm": router_norm,
    "random": random,
}

MEASURED_BY = {
    "device-loss": "hetc score",
    "expected-loss": "hetc score",
    "noise-gain": "hetc score",
    "activation-frequency": "hetc calibrate",
    "activation-weight": "hetc calibrate",
}
"""What measures the scores that need more than the weights."""


def known_scores() -> dict[str, Score]:
    """Every score that the weights alone give, by name: hetc's own, and those of installed packages."""
    return {**load_plugins("hetc.scores"), **SCORES}


def score_experts(
    model: ir.Model,
    units: Sequence[Unit],
    name: str = "maxnn",
    *,
    seed: int = 0,
    measured: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, float]:
    """The score `name` of every expert, by unit id.

    Args:
        model: The model that holds the weights.
        units: All units, from `find_units`.
        name: A key of `known_scores()`, or of `measured`.
        seed: Used by `random` alone.
        measured: Scores that were measured before, by name, then by unit id.

    Raises:
        UsageError: Unknown name, or one that has to be measured and wasn't.
        InvalidInputError: A weight with NaN or infinity, a router that wasn't found, or measured scores of
            another model.
    """
    experts = [unit for unit in units if unit.kind == ranked_kind(units)]
    measured = measured or {}
    if name in measured:
        return _measured(experts, name, measured[name])
    scores = known_scores()
    if name not in scores:
        known = ", ".join([*scores, *measured])
        raise UsageError(
            f"score {name!r} is not known; choose one of {known}"
            + (f"; measure it with `{MEASURED_BY[name]}` and pass --scores" if name in MEASURED_BY else "")
        )
    numbers = [float(number) for number in scores[name](model, experts, units, seed)]
    if len(numbers) != len(experts):
        raise InvalidInputError(f"score {name} gives {len(numbers)} numbers for {len(experts)} experts")
    return _all_finite(name, {expert.id: number for expert, number in zip(experts, numbers, strict=True)})


def _measured(experts: Sequence[Unit], name: str, values: Mapping[str, float]) -> dict[str, float]:
    missing = [expert.id for expert in experts if expert.id not in values]
    if missing:
        raise InvalidInputError(
            f"score {name}: {missing[0]} has none; the scores were measured on another model"
        )
    return _all_finite(name, {expert.id: values[expert.id] for expert in experts})


def _all_finite(name: str, values: dict[str, float]) -> dict[str, float]:
    for unit, value in values.items():
        if not math.isfinite(value):
            raise InvalidInputError(
                f"score {name} of {unit} is {value}, which ranks nothing; are its weights damaged?"
            )
    return values


def _largest_norm(model: ir.Model, matrix: Matrix) -> float:
    return _finite(largest_norms(model, matrix).row, matrix)


def _finite(norm: float, matrix: Matrix) -> float:
    if not math.isfinite(norm):
        raise InvalidInputError(
            f"weight {matrix.weight!r} holds NaN or infinity; it can be neither scored nor programmed"
        )
    return norm
