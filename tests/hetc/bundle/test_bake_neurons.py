"""A baked bundle whose neurons were placed one by one equals the noisy session of its seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from equality import assert_mostly_equal
from models import moe_model, with_static_converters

from hetc.bundle.bake import bake_bundle
from hetc.bundle.bundle import load_bundle
from hetc.bundle.programming import programmed_weight
from hetc.compiler.compile import compile, plan_model
from hetc.hardware.profile import Profile
from hetc.model.load import load_model
from hetc.model.weights import read_tensor
from hetc.passes.analysis.analog_matrices import analog_nodes, distinct_matrices
from hetc.runtimes.onnxruntime.session import open_session

PROFILE = Profile(tile_rows=16, tile_columns=10, noise_scale=2.0)
IDS = {"input_ids": np.arange(11)}
SEED = 7


def without_library(model: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(model), None, ["CPUExecutionProvider"])
    return session.run(None, IDS)[0]


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(ml_dtypes.bfloat16, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("placement", "changes"),
    [
        pytest.param({"digital_frac": 0.3}, {}, marks=pytest.mark.slow),
        ({"digital_frac": 0.3}, {"drift_time": 1e6, "drift_compensation": "global"}),
        ({"digital_frac": 0.3}, {"drift_time": 1e6, "drift_compensation": "column", "scale_mode": "tile"}),
        ({"budget": "parameters:12.5%"}, {"flicker_noise": 3.0}),
    ],
    ids=str,
)
def test_equals_the_noisy_session(
    tmp_path: Path, placement: dict[str, Any], changes: dict[str, Any], dtype: Any
) -> None:
    model = moe_model(hidden=40, inter=24, dtype=dtype)
    profile = replace(PROFILE, **changes)
    noisy = compile(model, tmp_path / "noisy", granularity="neuron", profile=profile, **placement)
    parts = [unit for unit in noisy.plan.units if 0 < unit.digital_share < 1]
    assert {unit.kind for unit in parts} == {"lm_head" if "budget" in placement else "expert"}
    baked = bake_bundle(noisy, tmp_path / "baked", seed=SEED)
    expected = noisy.session(seed=SEED).run(None, IDS)[0]
    other = noisy.session(seed=SEED + 1).run(None, IDS)[0]
    assert np.abs(expected - other).max() > 0.03 * np.abs(expected).max()
    assert_mostly_equal(baked.session().run(None, IDS)[0], expected)
    assert_mostly_equal(without_library(baked.path / "model.onnx"), expected)
    assert load_bundle(baked.path).plan.neuron_ranks == noisy.plan.neuron_ranks


@pytest.mark.parametrize("rule", ["scale:2", "std:2"])
def test_static_bounds_are_kept(tmp_path: Path, rule: str) -> None:
    model = moe_model(hidden=40, inter=24)
    profile = replace(PROFILE, drift_time=1e6, drift_compensation="column")
    _, plan = plan_model(model, profile=profile, granularity="neuron", digital_frac=0.3)
    noisy = compile(model, tmp_path / "noisy", plan=with_static_converters(plan, rule, 1.0))
    baked = bake_bundle(noisy, tmp_path / "baked", seed=SEED)
    expected = noisy.session(seed=SEED).run(None, IDS)[0]
    assert_mostly_equal(baked.session().run(None, IDS)[0], expected)
    assert_mostly_equal(without_library(baked.path / "model.onnx"), expected)


def test_no_session_moves_a_baked_neuron(tmp_path: Path) -> None:
    noisy = compile(
        moe_model(hidden=40, inter=24), tmp_path / "noisy", granularity="neuron", digital_frac=0.3
    )
    baked = bake_bundle(noisy, tmp_path / "baked")
    for before, after in zip(
        analog_nodes(load_model(noisy.graph_file).model.graph),
        analog_nodes(load_model(baked.graph_file).model.graph),
        strict=True,
    ):
        assert after.attributes["group_size"].as_int() == 0
        assert after.attributes["digital_count"].as_int() == before.attributes["digital_count"].as_int() > 0
    expected = baked.session().run(None, IDS)[0]
    for fraction in ("0", "0.9"):
        session = open_session(baked.path / "model.onnx", {"hetc.digital_frac": fraction})
        np.testing.assert_array_equal(session.run(None, IDS)[0], expected)


def test_a_digital_line_reads_as_the_clean_weight(tmp_path: Path) -> None:
    model = moe_model(hidden=40, inter=24)
    bundle = compile(model, tmp_path / "noisy", granularity="neuron", digital_frac=0.3)
    lowered = load_model(bundle.graph_file).model
    for matrix in distinct_matrices(lowered.graph):
        read = programmed_weight(matrix, bundle.path, {}).T
        clean = read_tensor(lowered, matrix.weight.name or "").T
        digital = matrix.digital_inputs[:, None] | matrix.digital_outputs
        np.testing.assert_array_equal(read[digital], clean[digital])
        assert (read != clean)[~digital].mean() > 0.9
    assert bundle.measure_noise(noise_scale=0, store="float32")["layers.0"] < 1e-6
    assert bundle.measure_noise()["layers.0"] > 1e-3
