"""Placement of single neurons: order, blocks, groups, pins, and equal shares at every granularity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hetc.base.errors import UsageError
from hetc.hardware.profile import Profile
from hetc.passes.analysis.place_units import place_units
from hetc.passes.analysis.rank_neurons import blocks_of, rank_blocks
from hetc.plan.fractions import DigitalFraction
from hetc.plan.neurons import NeuronRanks
from hetc.plan.plan import PlannedUnit
from hetc.plan.units import Matrix, Unit

WIDTH, NEURONS = 6, 8


def expert(layer: int, index: int, neurons: int = NEURONS, **changes: Any) -> Unit:
    name = f"layers.{layer}.experts.{index}"
    matrices = (
        Matrix("up_proj", f"{name}.up", WIDTH, NEURONS, True, 0),
        Matrix("down_proj", f"{name}.down", NEURONS, WIDTH, True, 1),
    )
    parameters = 2 * WIDTH * NEURONS
    return Unit(name, "expert", layer, index, matrices, (name,), parameters, neurons=neurons, **changes)


EXPERTS = [expert(layer, index) for layer in range(2) for index in range(3)]
SCORES = {unit.id: np.arange(NEURONS, dtype=np.float64) + 100 * index for index, unit in enumerate(EXPERTS)}


def place(fraction: str, block: int = 1, **options: Any) -> tuple[dict[str, PlannedUnit], NeuronRanks]:
    placed, ranks = place_units(
        options.pop("units", EXPERTS),
        {},
        Profile(),
        digital_frac=DigitalFraction(fraction),
        score="loss",
        neuron_scores=SCORES,
        block=block,
        **options,
    )
    assert ranks is not None
    return {unit.id: unit for unit in placed}, ranks


def test_the_highest_scores_of_the_model_are_digital() -> None:
    placed, ranks = place("1/4", ranking="model")  # 12 of 48
    last, before = placed["layers.1.experts.2"], placed["layers.1.experts.1"]
    assert (last.target, last.digital_neurons, last.digital_share) == ("digital", 8, 1.0)
    assert (before.target, before.digital_neurons, before.rule) == ("analog", 4, "score-neurons")
    assert before.rank == 15 and before.group_size == 48
    assert "4 of its 8 neurons are among the first 12 of 48 by loss in the model" in before.reason
    assert (ranks.ranks["layers.1.experts.1"] < 12).tolist() == [False] * 4 + [True] * 4


def test_a_layer_can_be_a_group_of_its_own() -> None:
    placed, _ = place("1/4")  # 6 of 24 in each layer
    assert [placed[f"layers.{layer}.experts.2"].digital_neurons for layer in range(2)] == [6, 6]


@given(st.integers(0, 48), st.sampled_from([1, 2, 3, 16]))
def test_a_fraction_is_the_same_share_of_parameters_at_every_granularity(kept: int, block: int) -> None:
    placed, _ = place(f"{kept}/48", block, ranking="model")
    digital = sum(unit.digital_parameters for unit in placed.values())
    assert abs(digital - kept / 48 * 6 * 2 * WIDTH * NEURONS) <= min(block, NEURONS) * 2 * WIDTH


def test_pinned_units_go_first_or_last_and_stay_whole() -> None:
    placed, _ = place("1/6", ranking="model", digital=["layers.0.experts.0"], analog=["layers.1.experts.2"])
    assert [unit.id for unit in placed.values() if unit.digital_neurons] == ["layers.0.experts.0"]
    assert (placed["layers.0.experts.0"].rule, placed["layers.1.experts.2"].rule) == ("pinned", "pinned")
    assert placed["layers.1.experts.2"].digital_neurons == 0


def test_a_unit_that_does_not_divide_is_named() -> None:
    with pytest.raises(UsageError, match=r"layers\.0\.experts\.0 doesn't divide into neurons"):
        place("0.5", units=[expert(0, 0, neurons=0)])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 9))
def test_blocks_hold_neurons_in_order_of_rank(numbers: list[float], block: int) -> None:
    scores = np.array(numbers)
    number, means = blocks_of(scores, block)
    assert np.all(np.bincount(number)[:-1] == block)
    for one in range(len(means)):
        np.testing.assert_allclose(means[one], scores[number == one].mean())
        if one:
            assert scores[number == one].max() <= scores[number == one - 1].min()
    ranks, sizes = rank_blocks({"a": None, "b": None}, {"a": scores, "b": scores / 2}, block, {})
    assert sizes["a"] == sizes["b"] == 2 * len(means)
    for one in range(len(means)):
        assert (
            ranks["a"][number == one].max() < ranks["b"][number == one].min()
        )  # ties: the first comes first
