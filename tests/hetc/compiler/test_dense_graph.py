"""A graph without experts: its MLPs, or their neurons, are what a fraction speaks of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from command_line import hetc
from models import moe_model

import hetc as hetc_api
from hetc.base.errors import InvalidInputError

IDS = {"input_ids": np.arange(7)}


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    ir.save(moe_model(experts=0, hidden=32, inter=16), tmp_path / "dense.onnx")
    return tmp_path / "dense.onnx"


def test_a_fraction_speaks_of_mlps(dense: Path, tmp_path: Path) -> None:
    done = hetc("compile", dense, "--digital-frac", "0.5", "-o", tmp_path / "half.hetc")
    assert done.returncode == 0, done.stderr
    assert "digital fraction 0.5 of MLPs" in done.stdout and "experts" not in done.stdout
    half = hetc_api.load_bundle(tmp_path / "half.hetc").plan
    assert sorted(unit.rule for unit in half.units if unit.kind == "dense_mlp") == [
        "score-rest",
        "score-top-k",
    ]
    assert all(unit.rule == "densely-activated" for unit in half.units if unit.kind == "attention")
    bundle = hetc_api.compile(dense, tmp_path / "all.hetc", digital_frac=1)
    expected = onnxruntime.InferenceSession(dense, providers=["CPUExecutionProvider"]).run(None, IDS)
    np.testing.assert_allclose(bundle.session().run(None, IDS)[0], expected[0], atol=1e-5)


def test_neurons_of_mlps(dense: Path, tmp_path: Path) -> None:
    bundle = hetc_api.compile(dense, tmp_path / "out.hetc", granularity="neuron", digital_frac="1/4")
    mlps = [unit for unit in bundle.plan.units if unit.kind == "dense_mlp"]
    assert sum(unit.digital_neurons for unit in mlps) == sum(unit.neurons for unit in mlps) // 4
    exact = onnxruntime.InferenceSession(dense, providers=["CPUExecutionProvider"]).run(None, IDS)[0]
    error = [
        np.abs(bundle.session(digital_frac=f).run(None, IDS)[0] - exact).mean() for f in ("1/4", "3/4", 1)
    ]
    assert error[0] > error[1] > error[2] and error[2] < 1e-5
    np.testing.assert_allclose(bundle.session(mode="exact").run(None, IDS)[0], exact, atol=1e-5)


def test_pinned_mlps_are_analog(dense: Path, tmp_path: Path) -> None:
    bundle = hetc_api.compile(dense, tmp_path / "out.hetc", analog="layers.*.mlp")
    assert [unit.id for unit in bundle.plan.units if unit.target == "analog"] == [
        "layers.0.mlp",
        "layers.1.mlp",
    ]
    expected = onnxruntime.InferenceSession(dense, providers=["CPUExecutionProvider"]).run(None, IDS)
    np.testing.assert_allclose(bundle.session(mode="exact").run(None, IDS)[0], expected[0], atol=1e-5)
    assert np.abs(bundle.session().run(None, IDS)[0] - expected[0]).max() > 1e-3


def test_inspect(dense: Path) -> None:
    done = hetc("inspect", dense)
    assert done.returncode == 0, done.stderr
    assert "a dense model, without experts" in done.stdout and "MoE" not in done.stdout


def test_calibrate_and_mitigate(dense: Path, tmp_path: Path) -> None:
    recorded = hetc_api.calibrate(dense, np.arange(11).repeat(8), window=8)
    assert recorded.tokens == 88 and not recorded.routing
    bundle = hetc_api.compile(dense, tmp_path / "out.hetc", analog="layers.*.mlp", calibration=recorded)
    assert all(unit.input_ranges for unit in bundle.plan.units if unit.target == "analog")
    with pytest.raises(InvalidInputError, match="no experts to replace"):
        hetc_api.mitigate(dense, np.arange(11).repeat(8), tmp_path / "replaced", replace=1, window=8)
