"""Scores files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hetc.base.errors import InvalidInputError, UsageError
from hetc.plan.calibration import UNITS_PER_ONE, Calibration, Routing
from hetc.plan.scores import Scores, load_scores


def test_a_file_holds_what_was_measured(tmp_path: Path) -> None:
    scores = Scores({"expected-loss": {"layers.0.experts.0": 0.1, "lm_head": 2.0}}, {"tokens": "256"})
    scores.save(tmp_path / "scores.safetensors")
    assert load_scores(tmp_path / "scores.safetensors") == scores


def test_a_calibration_gives_frequency_and_weight(tmp_path: Path) -> None:
    calibration = Calibration("0" * 64, 512, tokens=8)
    calibration.routing = {
        "layers.0.experts.0": Routing(6, 3 * UNITS_PER_ONE),
        "layers.0.experts.1": Routing(),
    }
    calibration.save(tmp_path / "calibration.safetensors")
    values = load_scores(tmp_path / "calibration.safetensors").values
    assert values["activation-frequency"] == {"layers.0.experts.0": 0.75, "layers.0.experts.1": 0.0}
    assert values["activation-weight"] == {"layers.0.experts.0": 0.375, "layers.0.experts.1": 0.0}


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_scores(tmp_path / "absent")
    save_file({"a": np.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(InvalidInputError, match="neither scores"):
        load_scores(tmp_path / "weights.safetensors")
    (tmp_path / "text").write_text("text")
    with pytest.raises(InvalidInputError, match="neither scores"):
        load_scores(tmp_path / "text")
