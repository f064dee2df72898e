"""Measured noise: what NumPy finds in programmed weights, and what it holds for other sessions."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import SAMPLE

from hetc.bundle.bundle import Bundle
from hetc.bundle.noise_probe import PROBES, NoiseProbe, mean_noise
from hetc.bundle.programming import programmed_weight
from hetc.compiler.compile import compile
from hetc.model.load import load_model
from hetc.model.weights import read_tensor
from hetc.passes.analysis.analog_matrices import analog_matrices, analog_nodes


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    output = tmp_path_factory.mktemp("noise") / "bundle"
    return compile(SAMPLE / "model.onnx", output, digital_frac=0.75, analog=["lm_head"])


def test_noise_is_that_of_the_programmed_weights(bundle: Bundle) -> None:
    config = {"hetc.seed": "3", "hetc.noise_scale": "2"}
    model, sums = load_model(bundle.graph_file).model, np.zeros(2)
    for node in analog_nodes(model.graph):
        for matrix in analog_matrices(node):
            if matrix.unit.startswith("layers.2."):
                clean = read_tensor(model, matrix.weight.name).astype(np.float64)
                error = programmed_weight(matrix, bundle.graph_file.parent, config) - clean
                sums += np.square(error).sum(), np.square(clean).sum()
    # E ||p W||^2 = ||W||^2 for normal p.
    measured = bundle.measure_noise(seed=3, noise_scale=2)
    assert measured["layers.2"] == pytest.approx(np.sqrt(sums[0] / sums[1]), rel=3 / np.sqrt(PROBES * 100))
    assert list(measured) == [*(f"layers.{layer}" for layer in range(4)), "lm_head"]


def test_noise_grows_with_its_scale(bundle: Bundle) -> None:
    plain = bundle.measure_noise(noise_scale=1)
    noisier = bundle.measure_noise(noise_scale=4)
    assert len(plain) == len(noisier) == 5
    assert all(2 < noisier[layer] / plain[layer] < 6 for layer in plain)
    clean = bundle.measure_noise(noise_scale=0, store="float32")
    assert clean.keys() == plain.keys()
    assert all(error < 1e-6 for error in clean.values())


def test_units_that_are_looked_at(bundle: Bundle) -> None:
    everything = bundle.measure_noise()
    head = NoiseProbe(bundle.graph_file, {}, {"lm_head", "layers.0.attention"}).measure()
    assert head == {"lm_head": everything["lm_head"]}
    assert NoiseProbe(bundle.graph_file, {}, ()).measure() == {}
    assert mean_noise({}) == 0
    assert mean_noise({"layers.0": 0.25, "lm_head": 0.75}) == 0.5
