"""Neurons in plain data: which units divide, how ranks are kept, and what damaged files say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hetc.base.errors import InvalidInputError, UsageError
from hetc.plan.neurons import NeuronRanks, axis_of, block_size, count_neurons, parse_neuron, per_line
from hetc.plan.units import Matrix


def matrix(projection: str, inputs: int, outputs: int) -> Matrix:
    return Matrix(projection, projection, inputs, outputs, True, 0)


MLP = (matrix("gate_proj", 6, 8), matrix("up_proj", 6, 8), matrix("down_proj", 8, 6))
ATTENTION = (
    matrix("q_proj", 6, 16),
    matrix("k_proj", 6, 8),
    matrix("v_proj", 6, 8),
    matrix("o_proj", 16, 6),
)


def test_granularities() -> None:
    assert [block_size(text) for text in ("expert", "neuron", "neuron:16")] == [None, 1, 16]
    for text in ("neurons", "neuron:0", "neuron:", "neuron:-1", "neuron:1.5", "", "Expert"):
        with pytest.raises(UsageError, match="is not expert, neuron"):
            block_size(text)


def test_what_divides() -> None:
    assert count_neurons("expert", MLP) == count_neurons("dense_mlp", MLP) == 8
    assert count_neurons("attention", ATTENTION, 2) == 2
    assert count_neurons("attention", ATTENTION, 3) == 0  # 16 and 8 are no thirds
    assert count_neurons("attention", ATTENTION) == 0
    assert count_neurons("attention", (matrix("qkv_proj", 6, 32), ATTENTION[3]), 2) == 0
    assert count_neurons("lm_head", (matrix("lm_head", 6, 100),)) == 100
    assert count_neurons("dense_mlp", (MLP[0], matrix("down_proj", 9, 6))) == 0
    assert count_neurons("router", (matrix("gate", 6, 4),)) == 0


def test_the_last_matrix_divides_along_its_inputs() -> None:
    assert [axis_of("expert", MLP, one) for one in MLP] == ["outputs", "outputs", "inputs"]
    head = (matrix("lm_head", 6, 100),)
    assert axis_of("lm_head", head, head[0]) == "outputs"
    np.testing.assert_array_equal(per_line(np.array([3, 1], np.int32), 6), [3, 3, 3, 1, 1, 1])


def test_neurons_have_ids() -> None:
    assert parse_neuron("layers.3.experts.17.neurons.5") == ("layers.3.experts.17", 5)
    assert parse_neuron("layers.3.experts.17") is None


def test_ranks_survive_their_file(tmp_path: Path) -> None:
    ranks = NeuronRanks(
        {"a": np.array([1, 0], np.int32), "b": np.array([2], np.int32)},
        {"a": np.array([0.5, 2], np.float32), "b": np.array([0.1], np.float32)},
    )
    ranks.save(tmp_path / "neurons.safetensors")
    sizes = [("a", 2), ("b", 1)]
    assert NeuronRanks.load(tmp_path / "neurons.safetensors", sizes) == ranks
    other = NeuronRanks({**ranks.ranks, "b": np.array([3], np.int32)}, ranks.scores)
    assert other != ranks
    with pytest.raises(InvalidInputError, match="ranks/b' must hold 2 numbers of type int32"):
        NeuronRanks.load(tmp_path / "neurons.safetensors", [("a", 2), ("b", 2)])
    with pytest.raises(InvalidInputError, match="ranks/c"):
        NeuronRanks.load(tmp_path / "neurons.safetensors", [("c", 1)])
    NeuronRanks({"a": np.array([-1], np.int32)}, {"a": np.zeros(1, np.float32)}).save(tmp_path / "bad")
    with pytest.raises(InvalidInputError, match="rank below 0"):
        NeuronRanks.load(tmp_path / "bad", [("a", 1)])
