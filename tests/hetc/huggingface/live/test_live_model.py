"""Opening a live model: where it computes is known before it is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import SAMPLE, hetc

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from families import olmoe, save_random_model  # noqa: E402
from packings import PACKINGS  # noqa: E402
from quantised import assert_same_bits, write_quantised  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from hetc.huggingface.live.live_model import open_model  # noqa: E402


@pytest.mark.parametrize("device", ["cuda", "cuda:99", "abacus", ""])
def test_a_device_that_is_not_there(device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    tokens = SAMPLE / "calibration.npz"
    done = hetc("score", SAMPLE, "--data", tokens, "--device", device, "-o", "unwritten.safetensors")
    assert done.returncode == 2, done.stderr
    assert f"device {device!r} can't be used here" in done.stderr


def test_a_quantised_checkpoint(tmp_path: Path) -> None:
    """The values that its weights mean, in the modules that a plain checkpoint fills."""
    plain, same = tmp_path / "plain", tmp_path / "same"
    save_random_model(olmoe(), plain, torch.bfloat16)
    settings, pack, _ = PACKINGS["fp8"]
    meant = write_quantised(plain, tmp_path / "quantised", {"quant_method": "fp8", **settings}, pack)
    same.mkdir()
    shutil.copy(plain / "config.json", same)
    save_file(meant, same / "model.safetensors")
    expected = open_model(same)
    opened = open_model(tmp_path / "quantised")
    assert not hasattr(opened.config, "quantization_config")
    found = dict(opened.named_parameters())
    for name, values in expected.named_parameters():
        assert_same_bits(found[name], values)
    assert next(open_model(tmp_path / "quantised", dtype="auto").parameters()).dtype == torch.bfloat16


def test_a_quantisation_that_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "abacus"}}')
    (tmp_path / "model.safetensors").touch()
    done = hetc("score", tmp_path, "--data", SAMPLE / "calibration.npz", "-o", tmp_path / "scores")
    assert done.returncode == 3, done.stderr
    assert "quant_method is 'abacus'" in done.stderr


def test_meta_computes_nothing() -> None:
    done = hetc("score", SAMPLE, "--data", SAMPLE / "calibration.npz", "--device", "meta", "-o", "unwritten")
    assert done.returncode == 2, done.stderr
