"""Decides by running it what a layer computes: y[t] = sum over k of weight[t, k] * expert(index[t, k])(x[t]).

A spelling says which products make up each expert. Everything else (rows that are gathered, masked, sorted or
scattered, branches and loops, where the weights are applied) is not matched but run: on stand-in weights of
rank one, random tokens and random choices of experts. A layer is what the formula gives the same numbers as,
so that a spelling can only decline what it takes for something else. What was found is compared once more on
the true weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hetc.passes.spellings.spelling import FoundLayer, MismatchError
from hetc.passes.spellings.tried.expert_form import ExpertProducts
from hetc.passes.spellings.tried.found_layer import found_layer
from hetc.passes.spellings.tried.readings import fitting_readings
from hetc.passes.spellings.tried.routed import Routed
from hetc.passes.spellings.tried.trial_runs import Trial
from hetc.passes.spellings.tried.true_weights import difference_on_true_weights

__all__ = ["try_layer"]


def try_layer(found: Routed, orders: Sequence[Sequence[ExpertProducts]]) -> FoundLayer:
    """The layer that products are the experts of.

    Args:
        found: The router that chooses the experts, and what depends on it.
        orders: The experts by index, in each order that they may have.

    Raises:
        MismatchError: The layer computes something else, or what its experts give is read elsewhere too.
    """
    trial = Trial(found, orders)
    runs = list(trial.runs())
    readings = fitting_readings(trial, runs)
    form = min(readings, key=lambda reading: readings[reading]).form
    refused = MismatchError("its result has another shape than its tokens", trial.router)
    for reading in sorted(readings, key=lambda reading: reading.output):
        x = trial.tokens_like(runs[0], reading.output) if reading.form == form else None
        if x is None:
            continue
        try:
            trial.require_closed(trial.outputs[reading.output])
        except MismatchError as error:
            refused = error
        else:
            layer = found_layer(trial, runs[0], reading, x)
            return replace(layer, difference=difference_on_true_weights(trial, reading, layer))
    raise refused
