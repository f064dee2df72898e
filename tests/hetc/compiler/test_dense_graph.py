"""A graph without experts: digital by default, and analog where it is pinned so."""

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


def test_digital_by_default_and_equal_to_the_source(dense: Path, tmp_path: Path) -> None:
    done = hetc("compile", dense, "-o", tmp_path / "out.hetc")
    assert done.returncode == 0, done.stderr
    assert "no experts to rank" in done.stdout and "digital experts" not in done.stdout
    bundle = hetc_api.load_bundle(tmp_path / "out.hetc")
    assert {unit.rule for unit in bundle.plan.units} == {"always-digital", "densely-activated"}
    expected = onnxruntime.InferenceSession(dense, providers=["CPUExecutionProvider"]).run(None, IDS)
    np.testing.assert_allclose(bundle.session().run(None, IDS)[0], expected[0], atol=1e-5)


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
