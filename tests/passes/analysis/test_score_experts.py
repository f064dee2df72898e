"""Scores against their definition, written out."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest
from models import moe_model

from hetc.base.errors import InvalidInputError, UsageError
from hetc.passes.analysis.find_units import find_units
from hetc.passes.analysis.score_experts import SCORES, score_experts


def weight(model: ir.Model, name: str) -> np.ndarray:
    return model.graph.initializers[name].const_value.numpy().astype(np.float64)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize(("name", "down_axis"), [("maxnn", 1), ("maxnn-down-inputs", 0)])
def test_maxnn_is_the_product_of_largest_neuron_norms(gated: bool, name: str, down_axis: int) -> None:
    model = moe_model(gated=gated)
    scores = score_experts(model, find_units(model), name)
    prefix = "model.layers.1.mlp.experts.2"
    expected = np.linalg.norm(weight(model, f"{prefix}.down_proj.weight"), axis=down_axis).max()
    for projection in ("gate_proj", "up_proj") if gated else ("up_proj",):
        expected *= np.linalg.norm(weight(model, f"{prefix}.{projection}.weight"), axis=1).max()
    assert scores["layers.1.experts.2"] == pytest.approx(expected, rel=1e-5)


def test_router_norm_is_the_norm_of_the_expert_row() -> None:
    model = moe_model()
    scores = score_experts(model, find_units(model), "router-norm")
    expected = np.linalg.norm(weight(model, "model.layers.1.mlp.gate.weight")[3])
    assert scores["layers.1.experts.3"] == pytest.approx(expected, rel=1e-5)


def test_random_follows_the_seed() -> None:
    model = moe_model()
    units = find_units(model)
    first, again, other = (score_experts(model, units, "random", seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len(set(first.values())) == len(first)


@pytest.mark.parametrize("name", SCORES)
def test_every_expert_has_every_score(name: str) -> None:
    model = moe_model(layers=2, experts=3)
    assert len(score_experts(model, find_units(model), name)) == 6


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(UsageError, match="maxnn, maxnn-down-inputs"):
        score_experts(moe_model(), (), "best")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(bad: float) -> None:
    model = moe_model()
    name = "model.layers.0.mlp.experts.1.up_proj.weight"
    model.graph.initializers[name].const_value.numpy()[0, 0] = bad
    with pytest.raises(InvalidInputError, match=r"experts\.1\.up_proj"):
        score_experts(model, find_units(model))


def test_measured_scores_rank_what_the_weights_cannot() -> None:
    model = moe_model()
    units = find_units(model)
    values = {unit.id: float(index) for index, unit in enumerate(units)}
    scores = score_experts(model, units, "expected-loss", measured={"expected-loss": values})
    assert scores == {unit.id: values[unit.id] for unit in units if unit.kind == "expert"}
    with pytest.raises(UsageError, match="measure it with `hetc score`"):
        score_experts(model, units, "expected-loss")
    with pytest.raises(InvalidInputError, match="measured on another model"):
        score_experts(model, units, "noise-gain", measured={"noise-gain": {}})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_router_that_is_not_finite_ranks_nothing(bad: float) -> None:
    model = moe_model()
    router = model.graph.initializers["model.layers.1.mlp.gate.weight"]
    numbers = router.const_value.numpy().copy()
    numbers[2, 0] = bad
    router.const_value = ir.tensor(numbers, name=router.name)
    with pytest.raises(InvalidInputError, match=r"router-norm of layers\.1\.experts\.2 is (nan|inf)"):
        score_experts(model, find_units(model), "router-norm")


def test_measured_scores_are_finite() -> None:
    model = moe_model()
    units = find_units(model)
    measured = {"mine": {unit.id: math.nan for unit in units}}
    with pytest.raises(InvalidInputError, match=r"mine of layers\.0\.experts\.0 is nan"):
        score_experts(model, units, "mine", measured=measured)
