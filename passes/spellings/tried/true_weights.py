"""Compares a layer with its canonical form on the layer's true weights, with fresh tokens and choices.

What a trial has found on stand-ins is seen again on the numbers that the layer has: that they were cut out of
their stacks at the right place, and that nothing depends on how large they are. Weights are mapped and read
as the layer comes to them; of the canonical form, one expert is computed at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.external_tensors import tensor_values
from hetc.passes.canonical.canonical_layer import ExpertWeights
from hetc.passes.spellings.spelling import FoundLayer, MismatchError
from hetc.passes.spellings.tried.expert_form import Float32
from hetc.passes.spellings.tried.readings import HARDER, Reading
from hetc.passes.spellings.tried.routings import favouring, in_turn
from hetc.passes.spellings.tried.runner import Runner
from hetc.passes.spellings.tried.trial_runs import Trial
from hetc.plan.finding import TRUE_WEIGHTS_TOLERANCE
from hetc.runtimes.reference.expert import expert

__all__ = ["difference_on_true_weights"]

LEAST_ROWS, LEAST_GATHERED_ROWS = 12, 1
"""Tokens of a run, at least; of one in which each token's weights are copied, as the layer does it."""
SMALL_ROW = 1e-2
"""A row is compared with at least this share of the terms of rows of smaller numbers.

Where all neurons of a row saturate, what is left of them is rounding of the activation."""
SEED = 1
"""Other tokens and choices than in the trial."""


def difference_on_true_weights(trial: Trial, reading: Reading, found: FoundLayer) -> float:
    """Largest difference of the canonical form, relative to the mean term of the sum over experts.

    Args:
        trial: What was run of the layer.
        reading: Which of its values are the weights of experts and the result.
        found: The layer as it would be raised.

    Raises:
        MismatchError: It differs by more than rounding does, or nothing that it gives is finite.
    """
    random = np.random.default_rng(SEED)
    output = trial.outputs[reading.output]
    gathered = any(
        product.weight.index is not None and product.node.graph is trial.region.graph
        for product in trial.products.values()
    )
    rows = LEAST_GATHERED_ROWS if gathered else max(LEAST_ROWS, -(-trial.experts // found.top_k))
    values = [trial.others[reading.weight], output]
    layer = Runner(trial.found, trial.experts, found.hidden_size, values, None, random, rows)
    size = np.geomspace(0.1, 10, layer.rows, dtype=np.float32)[:, None]
    errors: list[Float32] = []
    for favoured in in_turn(random.permutation(trial.experts).tolist(), layer.rows, found.top_k):
        x, index, (weight, result) = layer.run(favouring(random, trial.experts, favoured), size)
        if weight.size != index.size:
            weight = np.take_along_axis(weight.reshape(len(x), trial.experts), index, 1)
        total, terms = _canonical(found, x, index, weight.reshape(index.shape))
        told = np.isfinite(result.reshape(x.shape)).all(axis=1)
        scale = terms[told].mean(axis=1)
        apart = np.abs(total - result.reshape(x.shape))[told].max(axis=1)
        least = SMALL_ROW * np.maximum.accumulate(scale) + np.finfo(np.float32).tiny
        errors.append(apart / np.maximum(scale, least))
    if not any(row.size for row in errors):
        raise MismatchError("nothing that it gives with its true weights is finite", trial.router, HARDER)
    difference = float(np.concatenate(errors).max())
    if not difference <= TRUE_WEIGHTS_TOLERANCE:
        raise MismatchError(
            f"on its true weights its canonical form differs by {difference:.1e} of the mean term, "
            f"where {TRUE_WEIGHTS_TOLERANCE:.0e} is allowed",
            trial.router,
            HARDER,
        )
    return difference


def _canonical(
    found: FoundLayer, x: Float32, index: NDArray[np.int64], weight: Float32
) -> tuple[Float32, Float32]:
    """The weighted sum over the chosen experts, `[T, H]`, and the sum of its terms' magnitudes."""
    total, terms = np.zeros_like(x), np.zeros_like(x)
    for number, weights in enumerate(found.experts):
        rows, choices = np.nonzero(index == number)
        if rows.size:
            y = _expert(found, weights, x[rows]) * weight[rows, choices, None]
            np.add.at(total, rows, y)
            np.add.at(terms, rows, np.abs(y))
    return total, terms


def _expert(found: FoundLayer, weights: ExpertWeights, x: Float32) -> Float32:
    """What one expert gives with its own weights."""
    y: Float32 = expert(
        x,
        _numbers(weights.gate),
        _numbers(weights.up),
        _numbers(weights.down),
        found.activation,
        transpose_weight=found.transpose_weight,
        gate_bias=_numbers(weights.gate_bias),
        up_bias=_numbers(weights.up_bias),
        down_bias=_numbers(weights.down_bias),
        **found.activation_attributes,
    )
    return y


def _numbers(value: ir.Value | None) -> Any:
    return None if value is None or value.const_value is None else tensor_values(value.const_value)
