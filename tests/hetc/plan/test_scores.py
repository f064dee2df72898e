"""Scores files."""

from __future__ import annotations

import json
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
    with pytest.raises(InvalidInputError, match="no safetensors file"):
        load_scores(tmp_path / "text")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "hetc scores 9"}, "format is .* it must be hetc scores 1"),
        ({"units": {"mine": ["a", "a"]}}, "units"),
        ({"units": {"mine": ["a", "b", "c"]}}, "array 'mine' must hold 3 finite"),
        ({"units": {"mine": ["a", 7]}}, "7; it must be text"),
        ({"units": {"yours": ["a", "b"]}}, "array 'yours' must hold"),
        ({"origin": 7}, "origin is 7; it must be a table"),
        ({"more": 1}, "unknown key more"),
    ],
)
def test_headers_are_checked(tmp_path: Path, change: dict[str, object], message: str) -> None:
    header = {"format": "hetc scores 1", "units": {"mine": ["a", "b"]}, "origin": {}, **change}
    save_file({"mine": np.zeros(2)}, tmp_path / "scores", {"scores": json.dumps(header)})
    with pytest.raises(InvalidInputError, match=message):
        load_scores(tmp_path / "scores")


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    Scores({"mine": {"a": 1.0, "b": float("nan")}}).save(tmp_path / "scores")
    with pytest.raises(InvalidInputError, match="finite"):
        load_scores(tmp_path / "scores")
