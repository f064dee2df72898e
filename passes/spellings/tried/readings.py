"""Finds the values of a layer that its formula relates: x, the chosen experts, their weights, and the sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetc.operators.activations import CLAMPED_SWISH
from hetc.passes.spellings.constants import small_constant
from hetc.passes.spellings.spelling import MismatchError
from hetc.passes.spellings.tried.expert_form import Float32, Form, expert_terms, forms
from hetc.passes.spellings.tried.trial_runs import Run, Trial

__all__ = ["Reading", "fitting_readings"]

ACTIVATIONS = (("silu",), ("relu",), ("relu2",), ("gelu", "gelu_tanh"))
"""In the order in which they are tried; those so alike that the nearer one is taken stand together."""
TOLERANCE = 1e-4
"""Largest error relative to the mean term: float32 sums of a few thousand random numbers."""


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
        for names in (*ACTIVATIONS, (CLAMPED_SWISH,)):
            fits = {}
            for form in forms(trial.orders[0][0], names, numbers):
                terms = _terms(trial, run, order, form)
                for weight in weights:
                    for output in outputs:
                        reading = Reading(order, form, weight, output)
                        fits[reading] = _error(trial, run, reading, terms)
            for other in runs[1:]:
                fits = {r: max(e, _error(trial, other, r)) for r, e in fits.items() if e <= TOLERANCE}
            fits = {
                r: e for r, e in fits.items() if e <= TOLERANCE and trial.is_of_all(trial.outputs[r.output])
            }
            if fits:
                return fits
    known = ", ".join((*(name for names in ACTIVATIONS for name in names), CLAMPED_SWISH))
    raise MismatchError(
        "what it makes of its experts is not the sum of the chosen ones times their weights, or "
        f"their activation is none of {known}",
        trial.orders[0][0].down.node,
    )


def _numbers(trial: Trial) -> set[float]:
    """The magnitudes of what follows products."""
    found = set()
    for value in trial.outputs:
        for source in value.producer().inputs:  # type: ignore[union-attr]
            number = small_constant(source)
            if number is not None and number.size == 1 and number.dtype == np.float32:
                found.add(abs(float(number.item())))
    return found


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
    parts = weight.reshape(*run.index.shape, 1) * terms
    scale = float(np.abs(parts).sum(1).mean())
    difference = np.abs(parts.sum(1) - run.outputs[reading.output].reshape(run.x.shape))
    return float(difference.max()) / scale if scale > 0 and np.isfinite(scale) else np.inf
