"""Smoothed samples compute what they did; replaced experts are two programmings of one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import SAMPLE, hetc

from hetc.base.errors import InvalidInputError, UsageError
from hetc.compiler.compile import compile
from hetc.compiler.mitigation import mitigate
from hetc.evaluation.likelihood import mean_loss, session_forward
from hetc.runtimes.onnxruntime.session import open_session

WINDOWS = np.load(SAMPLE / "heldout.npz")["tokens"][:768].reshape(-1, 256).astype(np.int64)
CALIBRATION = np.load(SAMPLE / "calibration.npz")["tokens"][:2048].reshape(-1, 256).astype(np.int64)


@pytest.mark.parametrize("name", ["tiny_moe", "tiny_deepseek"])
def test_a_smoothed_sample_computes_what_it_did(name: str, tmp_path: Path) -> None:
    source = SAMPLE.parent / name / "model.onnx"
    assert mitigate(source, CALIBRATION[:2], tmp_path / "smooth", smooth=0.5)
    plain, smooth = (
        session_forward(open_session(path))(WINDOWS[:2])
        for path in (source, tmp_path / "smooth" / "model.onnx")
    )
    np.testing.assert_allclose(smooth, plain, atol=1e-4)
    assert (tmp_path / "smooth" / "tokenizer.json").is_file()
    bundle = compile(tmp_path / "smooth" / "model.onnx", tmp_path / "bundle", digital_frac=0.25)
    np.testing.assert_allclose(session_forward(bundle.session(mode="exact"))(WINDOWS[:2]), plain, atol=1e-4)


@pytest.mark.slow
def test_replaced_experts_halve_the_noise_of_others(tmp_path: Path) -> None:
    source = SAMPLE / "model.onnx"
    (done,) = mitigate(source, CALIBRATION[:4], tmp_path / "replaced", replace=2)
    assert done == "replaced 8 experts"
    plain, replaced = (
        compile(path, tmp_path / f"{index}", digital_frac=0)
        for index, path in enumerate((source, tmp_path / "replaced" / "model.onnx"))
    )
    clean = [mean_loss(session_forward(one.session(mode="exact")), WINDOWS) for one in (plain, replaced)]
    assert clean[1] == pytest.approx(clean[0], abs=0.02)
    noisy = [
        mean_loss(session_forward(one.session(noise_scale=8, seed=1)), WINDOWS) for one in (plain, replaced)
    ]
    assert noisy[1] < noisy[0]
    units = {unit.id: unit for unit in replaced.plan.units}
    streams = [matrix.stream for unit in units.values() for matrix in unit.matrices]
    assert len(set(streams)) == len(streams)
    # What was rewritten can be recorded again; its least used experts are copies now, and stay.
    with pytest.raises(InvalidInputError, match="no expert can be replaced"):
        mitigate(tmp_path / "replaced" / "model.onnx", CALIBRATION[:4], tmp_path / "twice", replace=1)


def test_hard_linked_weights_can_be_rewritten(tmp_path: Path) -> None:
    """As `export --link` and `compile --link` leave them."""
    for name in ("model.onnx", "model.safetensors"):
        shutil.copyfile(SAMPLE / name, tmp_path / name)
    (tmp_path / "other").hardlink_to(tmp_path / "model.safetensors")
    done = mitigate(tmp_path / "model.onnx", CALIBRATION[:1], tmp_path / "m", smooth=0.5, replace=1)
    assert done == ["smoothed 9 norms", "replaced 4 experts"]


def test_command_and_what_is_refused(tmp_path: Path) -> None:
    data = ("--data", SAMPLE / "calibration.npz", "--windows", "2")
    done = hetc("mitigate", SAMPLE / "model.onnx", *data, "--smooth", "0.5", "-o", tmp_path / "smooth")
    assert done.returncode == 0, done.stderr
    assert "smoothed 9 norms" in done.stderr
    again = hetc("mitigate", SAMPLE / "model.onnx", *data, "--smooth", "0.5", "-o", tmp_path / "smooth")
    assert again.returncode == 2
    for choices, message in (
        ({}, "nothing to do"),
        ({"smooth": 2}, "strength 2 of smoothing is not between 0 and 1"),
        ({"replace": 9}, "9 of the 16 experts of layers.0 are too many"),
    ):
        with pytest.raises(UsageError, match=message):
            mitigate(SAMPLE / "model.onnx", CALIBRATION[:1], tmp_path / "other", **choices)
    graph = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[2] x) => (float[2] y) { y = Neg(x) }'
    )
    onnx.save(graph, tmp_path / "m.onnx")
    with pytest.raises(InvalidInputError, match="no norm leads to products alone"):
        mitigate(tmp_path / "m.onnx", CALIBRATION, tmp_path / "other", smooth=0.5)
    assert not (tmp_path / "other").exists()
