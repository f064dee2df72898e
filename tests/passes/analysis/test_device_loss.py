"""Losses of a whole model's neurons, and scores of neurons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from hetc.base.errors import InvalidInputError, UsageError
from hetc.compiler.loading import load_moe_model
from hetc.hardware.profile import load_profile
from hetc.model.weights import read_tensor
from hetc.passes.analysis.device_loss import device_losses, predicted_loss
from hetc.passes.analysis.find_units import find_units
from hetc.passes.analysis.score_neurons import score_neurons
from hetc.plan.neurons import axis_of
from hetc.plan.scores import Scores, load_scores
from hetc.plan.sensitivity import CLIPS, Sensitivities, Sensitivity, matrix_key
from hetc.plan.units import Unit

SAMPLE = Path(__file__).parents[3] / "samples" / "tiny_moe"
PROFILE = load_profile()


def one_layer() -> tuple[ir.Model, tuple[Unit, ...], Scores]:
    """Two experts and the attention of a layer, and the LM head, with sensitivities out of thin air."""
    model = load_moe_model(SAMPLE / "model.onnx", allow_partial=False).model
    wanted = ("layers.0.attention", "layers.0.experts.0", "layers.0.experts.1", "lm_head")
    units = tuple(unit for unit in find_units(model) if unit.id in wanted)
    random = np.random.default_rng(0)
    matrices = {}
    for unit in units:
        for matrix in unit.matrices:
            sizes = {
                **dict.fromkeys(("rows", "converted", "inputs"), (matrix.inputs,)),
                **dict.fromkeys(("columns", "fisher"), (matrix.outputs,)),
                **dict.fromkeys(("reach", "signal"), (1, matrix.outputs)),
                "clipped": (len(CLIPS), 1, matrix.outputs),
            }
            numbers = {name: random.random(size).astype(np.float32) for name, size in sizes.items()}
            numbers["clipped"] = np.sort(numbers["clipped"], axis=0)[::-1] * np.float32(0.01)
            numbers["peaks"] = np.full(matrix.inputs, 1 / matrix.inputs, np.float32)
            matrices[matrix_key(unit.id, matrix.projection)] = Sensitivity(**numbers)
    return model, units, Scores(sensitivities=Sensitivities(512, 10.0, matrices))


MODEL, UNITS, SCORES = one_layer()


def test_units_that_hold_outputs_alone_cost_what_their_neurons_do() -> None:
    losses = device_losses(MODEL, UNITS, SCORES, PROFILE)
    assert {unit: len(one) for unit, one in losses.items()} == {
        "layers.0.attention": 6,
        "layers.0.experts.0": 128,
        "layers.0.experts.1": 128,
        "lm_head": 1024,
    }
    head = [unit for unit in UNITS if unit.id == "lm_head"]
    whole = predicted_loss(MODEL, head, SCORES, PROFILE)
    assert losses["lm_head"].sum() == pytest.approx(whole, rel=1e-4)


def test_what_is_digital_costs_nothing() -> None:
    expert, other = UNITS[1], UNITS[2]
    half = np.arange(expert.neurons) % 2 == 0
    whole = predicted_loss(MODEL, [expert, other], SCORES, PROFILE)
    less = predicted_loss(MODEL, [expert, other], SCORES, PROFILE, {expert.id: half})
    none = {unit.id: np.ones(unit.neurons, bool) for unit in (expert, other)}
    assert 0 < less < whole
    assert predicted_loss(MODEL, [expert, other], SCORES, PROFILE, none) == 0
    losses = device_losses(MODEL, [expert], SCORES, PROFILE, {expert.id: half})[expert.id]
    assert not losses[half].any()
    assert losses[~half].all()


def test_a_neuron_is_worth_what_the_model_loses_less_without_it() -> None:
    loud = replace(PROFILE, noise_scale=8.0)
    expert = UNITS[1]
    losses = device_losses(MODEL, [expert], SCORES, loud)[expert.id]
    whole = predicted_loss(MODEL, [expert], SCORES, loud)
    for neuron in (int(losses.argmax()), 3):
        one = np.arange(expert.neurons) == neuron
        saved = whole - predicted_loss(MODEL, [expert], SCORES, loud, {expert.id: one})
        assert losses[neuron] == pytest.approx(saved, rel=0.3, abs=2e-4 * whole)


def test_scores_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="needs sensitivities"):
        device_losses(MODEL, UNITS, Scores(), PROFILE)
    with pytest.raises(UsageError, match="measured for tiles of 512 rows"):
        device_losses(MODEL, UNITS, SCORES, replace(PROFILE, tile_rows=64))
    none = Scores(sensitivities=Sensitivities(512, 10.0))
    with pytest.raises(InvalidInputError, match="measured on another model"):
        device_losses(MODEL, UNITS, none, PROFILE)


def test_sensitivities_survive_their_file(tmp_path: Path) -> None:
    neurons = {"expected-loss": {"lm_head": np.arange(1024, dtype=np.float32)}}
    scores = replace(SCORES, neurons=neurons, values={"expected-loss": {"lm_head": 1.0}})
    scores.save(tmp_path / "scores")
    found = load_scores(tmp_path / "scores")
    assert found == scores
    assert found != SCORES
    assert predicted_loss(MODEL, UNITS, found, PROFILE) == predicted_loss(MODEL, UNITS, SCORES, PROFILE)


@pytest.mark.parametrize("name", ["maxnn", "largest-weight"])
def test_weights_alone_give_products_over_a_neurons_lines(name: str) -> None:
    expert = UNITS[1]
    found = score_neurons(MODEL, UNITS, name)[expert.id]
    expected = 1.0
    for matrix in expert.matrices:
        weight = read_tensor(MODEL, matrix.weight).astype(np.float64)
        line = (
            weight
            if matrix.transposed == (axis_of("expert", expert.matrices, matrix) == "outputs")
            else weight.T
        )
        expected *= np.linalg.norm(line[5]) if name == "maxnn" else abs(line[5]).max()
    assert found[5] == pytest.approx(expected, rel=1e-5)


def test_random_scores_come_from_the_seed() -> None:
    first, again, other = (score_neurons(MODEL, UNITS, "random", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_equal(first, again)
    assert (first["lm_head"] != other["lm_head"]).all()
    assert (first["layers.0.experts.0"] != first["layers.0.experts.1"]).all()


def test_measured_scores_are_passed_on_or_asked_for() -> None:
    numbers = {unit.id: np.ones(unit.neurons, np.float32) for unit in UNITS}
    found = score_neurons(MODEL, UNITS, "expected-loss", scores=Scores(neurons={"expected-loss": numbers}))
    assert found["lm_head"].dtype == np.float64
    with pytest.raises(UsageError, match="hetc score"):
        score_neurons(MODEL, UNITS, "expected-loss")
    with pytest.raises(UsageError, match="knows no neurons; choose one of maxnn"):
        score_neurons(MODEL, UNITS, "router-norm")
    numbers["lm_head"] = numbers["lm_head"][1:]
    with pytest.raises(InvalidInputError, match="knows 1023 neurons of lm_head"):
        score_neurons(MODEL, UNITS, "expected-loss", scores=Scores(neurons={"expected-loss": numbers}))


def test_device_loss_is_a_score() -> None:
    found = score_neurons(MODEL, UNITS, "device-loss", scores=SCORES, profile=PROFILE)
    np.testing.assert_allclose(found["lm_head"], device_losses(MODEL, UNITS, SCORES, PROFILE)["lm_head"])
