"""Opening a live model: where it computes is known before it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import SAMPLE, hetc

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("device", ["cuda", "cuda:99", "abacus", ""])
def test_a_device_that_is_not_there(device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    tokens = SAMPLE / "calibration.npz"
    done = hetc("score", SAMPLE, "--data", tokens, "--device", device, "-o", "unwritten.safetensors")
    assert done.returncode == 2, done.stderr
    assert f"device {device!r} can't be used here" in done.stderr


def test_a_quantised_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "fp8"}}')
    (tmp_path / "model.safetensors").touch()
    done = hetc("score", tmp_path, "--data", SAMPLE / "calibration.npz", "-o", tmp_path / "scores")
    assert done.returncode == 3, done.stderr
    assert "quantised (fp8)" in done.stderr
    assert "hetc export" in done.stderr


def test_meta_computes_nothing() -> None:
    done = hetc("score", SAMPLE, "--data", SAMPLE / "calibration.npz", "--device", "meta", "-o", "unwritten")
    assert done.returncode == 2, done.stderr
