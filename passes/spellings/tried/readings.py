"""Finds the values of a layer that its formula relates: x, the chosen experts, their weights, and the sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetc.passes.spellings.activation_choices import ALIKE, MOST_NUMBERS, known_activations, node_numbers
from hetc.passes.spellings.constants import small_constant
from hetc.passes.spellings.products import subgraphs
from hetc.passes.spellings.spelling import MismatchError
from hetc.passes.spellings.tried.expert_form import Float32, Form, expert_terms, forms
from hetc.passes.spellings.tried.trial_runs import Run, Trial

__all__ = ["HARDER", "Reading", "fitting_readings"]

TOLERANCE = 1e-4
"""Largest error relative to the mean term: float32 sums of a few thousand random numbers."""
FLOATING = ("float32", "float16", "bfloat16")
"""Types that such constants may have."""
HARDER = 3
"""How many parts of a layer have matched that fails harder runs only, or on its true weights."""


@dataclass(frozen=True)
class Reading:
    """Values of the graph that the formula relates, as positions among what a trial gives.

    Attributes:
        order: Which of the trial's orders the experts have.
        form: Their form.
        weight: Which of the trial's other values weighs them.
        output: Which of its outputs is the sum.
    """

    order: int
    form: Form
    weight: int
    output: int


def fitting_readings(trial: Trial, runs: Sequence[Run]) -> dict[Reading, float]:
    """The readings of one kind of activation that fit all runs, with their errors.

    Raises:
        MismatchError: None does.
    """
    run = runs[0]
    rows, choices = run.index.shape
    hidden, experts = run.x.shape[1], trial.experts

    def is_output(value: NDArray[Any]) -> bool:
        return value.dtype == np.float32 and value.size == rows * hidden and value.shape[-1] == hidden

    def is_weight(value: NDArray[Any]) -> bool:
        if value.dtype != np.float32 or not value.ndim:
            return False
        dense = value.size == rows * experts and value.shape[-1] == experts
        return bool(dense or value.size == rows * choices)

    # In every run: what is made of one expert's rows alone may have the right size in some.
    outputs = [n for n in range(len(trial.outputs)) if all(is_output(r.outputs[n]) for r in runs)]
    weights = [n for n in range(len(trial.others)) if all(is_weight(r.others[n]) for r in runs)]
    weights.sort(key=lambda number: run.others[number].shape[-1] != choices)
    numbers = _numbers(trial)
    for order in range(len(trial.orders)):
        for names in ALIKE:
            errors = {}
            for form in forms(trial.orders[0][0], names, numbers):
                terms = _terms(trial, run, order, form)
                for weight in weights:
                    for output in outputs:
                        reading = Reading(order, form, weight, output)
                        errors[reading] = _error(trial, run, reading, terms)
            fits = _fitting(trial, _within(errors), runs[1:])
            fits = {r: error for r, error in fits.items() if trial.is_of_all(trial.outputs[r.output])}
            if fits:
                return _still_fitting(trial, fits, run.index.shape[1])
    _require_finite(trial, runs, outputs)
    raise MismatchError(
        "what it makes of its experts is not the sum of the chosen ones times their weights, or "
        f"their activation is none of {known_activations()}",
        trial.orders[0][0].down.node,
    )


def _require_finite(trial: Trial, runs: Sequence[Run], outputs: Sequence[int]) -> None:
    """Refuses a layer whose last result is finite in no row of some run: nothing could be told from it.

    Raises:
        MismatchError: It is such a layer.
    """
    last = next((n for n in reversed(outputs) if trial.is_of_all(trial.outputs[n])), None)
    for run in runs:
        if last is not None and not np.isfinite(run.outputs[last].reshape(run.x.shape)).all(axis=1).any():
            raise MismatchError(f"nothing that it gives is finite {run.said}", trial.router, matched=1)


def _within(errors: Mapping[Reading, float]) -> dict[Reading, float]:
    return {reading: error for reading, error in errors.items() if error <= TOLERANCE}


def _fitting(trial: Trial, fits: dict[Reading, float], runs: Iterable[Run]) -> dict[Reading, float]:
    """Those of the readings that fit further runs too."""
    for run in runs:
        if not fits:
            break
        fits = _within({r: max(error, _error(trial, run, r)) for r, error in fits.items()})
    return fits


def _still_fitting(trial: Trial, fits: dict[Reading, float], top_k: int) -> dict[Reading, float]:
    """Those of the readings that fit the harder runs.

    Raises:
        MismatchError: None does; says where it failed.
    """
    outputs, others = {r.output for r in fits}, {r.weight for r in fits}
    for run in trial.harder_runs(outputs, others, top_k):
        fits = _fitting(trial, fits, [run])
        if not fits:
            raise MismatchError(f"it computes something else {run.said}", trial.router, matched=HARDER)
    return fits


def _numbers(trial: Trial) -> set[float]:
    """The magnitudes of what follows products: those that follow most, since all experts share theirs."""
    found: Counter[float] = Counter()
    producers = [node for value in trial.outputs if (node := value.producer()) is not None]
    inner = [node for outer in producers for graph in subgraphs(outer) for node in graph]
    for node in (*producers, *inner):
        found.update(node_numbers(node))
        for source in node.inputs:
            number = small_constant(source)
            if number is not None and number.size == 1 and number.dtype.name in FLOATING:
                found[abs(float(number.item()))] += 1
    del found[0.0]
    return {number for number, _ in found.most_common(MOST_NUMBERS)}


def _terms(trial: Trial, run: Run, order: int, form: Form) -> Float32:
    """What the chosen experts give, `[T, K, H]`."""
    return expert_terms(trial.orders[order], form, run.x, run.index, trial.stand_ins, trial.biases)


def _error(trial: Trial, run: Run, reading: Reading, terms: Float32 | None = None) -> float:
    """Largest error relative to the mean term."""
    if terms is None:
        terms = _terms(trial, run, reading.order, reading.form)
    weight = run.others[reading.weight]
    if weight.size != run.index.size:
        weight = np.take_along_axis(weight.reshape(len(run.x), trial.experts), run.index, 1)
    source = run.outputs[reading.output].reshape(run.x.shape)
    told = np.isfinite(source).all(axis=1)  # a router's weights may be 0/0 where tokens are large
    parts = (weight.reshape(*run.index.shape, 1) * terms)[told]
    scale = float(np.abs(parts).sum(1).mean()) if told.any() else np.inf
    if not 0 < scale < np.inf:
        return np.inf
    return float(np.abs(parts.sum(1) - source[told]).max()) / scale
