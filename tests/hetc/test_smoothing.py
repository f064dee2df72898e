"""Smoothed samples compute what they did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import SAMPLE, hetc

from hetc.errors import InvalidInputError, UsageError
from hetc.likelihood import session_forward
from hetc.pipeline import compile
from hetc.runtimes.onnxruntime.session import open_session
from hetc.smoothing import smooth_model

WINDOWS = np.load(SAMPLE / "heldout.npz")["tokens"][:4096].reshape(-1, 256).astype(np.int64)
CALIBRATION = np.load(SAMPLE / "calibration.npz")["tokens"][:2048].reshape(-1, 256).astype(np.int64)


@pytest.mark.parametrize("name", ["tiny_moe", "tiny_deepseek"])
def test_a_smoothed_sample_computes_what_it_did(name: str, tmp_path: Path) -> None:
    source = SAMPLE.parent / name / "model.onnx"
    assert smooth_model(source, CALIBRATION, tmp_path / "smooth") >= 9
    plain, smooth = (
        session_forward(open_session(path))(WINDOWS[:2])
        for path in (source, tmp_path / "smooth" / "model.onnx")
    )
    np.testing.assert_allclose(smooth, plain, atol=1e-4)
    assert (tmp_path / "smooth" / "tokenizer.json").is_file()
    bundle = compile(tmp_path / "smooth" / "model.onnx", tmp_path / "bundle", digital_frac=0.25)
    np.testing.assert_allclose(session_forward(bundle.session(mode="exact"))(WINDOWS[:2]), plain, atol=1e-4)


def test_command_and_what_is_refused(tmp_path: Path) -> None:
    data = ("--data", SAMPLE / "calibration.npz", "--windows", "2")
    done = hetc("smooth", SAMPLE / "model.onnx", *data, "-o", tmp_path / "smooth")
    assert done.returncode == 0, done.stderr
    assert "smoothed 9 norms" in done.stderr
    assert hetc("smooth", SAMPLE / "model.onnx", *data, "-o", tmp_path / "smooth").returncode == 2
    with pytest.raises(UsageError, match="strength 2 is not between 0 and 1"):
        smooth_model(SAMPLE / "model.onnx", CALIBRATION, tmp_path / "other", strength=2)
    graph = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[2] x) => (float[2] y) { y = Neg(x) }'
    )
    onnx.save(graph, tmp_path / "m.onnx")
    with pytest.raises(InvalidInputError, match="no norm leads to products alone"):
        smooth_model(tmp_path / "m.onnx", CALIBRATION, tmp_path / "other")
    assert not (tmp_path / "other").exists()
