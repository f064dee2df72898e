"""Bad input: one clear error, the documented exit code, and nothing left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from command_line import SAMPLE, hetc, python_process
from models import moe_model, saved_moe_model

from hetc.base.output_lock import names_beside

USAGE, BAD_MODEL, MISSING_RUNTIME, UNWRITABLE = 2, 3, 5, 6


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved_moe_model(tmp_path)


def refused(tmp_path: Path, code: int, message: str, *arguments: object) -> None:
    """Asserts one error line with `message`, exit code `code`, and an untouched folder."""
    before = sorted(tmp_path.rglob("*"))
    result = hetc(*arguments, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def text(path: Path) -> None:
    path.write_text("# hello\n")


def drop_weights(path: Path) -> None:
    (path.parent / "weights.bin").unlink()


def escape(path: Path) -> None:
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../weights.bin" if entry.key == "location" else entry.value
    path.write_bytes(proto.SerializeToString())


def nothing_to_place(path: Path) -> None:
    x = ir.val("x", ir.DataType.FLOAT, [1])
    node = ir.node("Relu", [x])
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "y", x.type, x.shape
    ir.save(
        ir.Model(ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 18}, name="g"), ir_version=10),
        path,
    )


def other_spelling(path: Path) -> None:
    loaded = ir.load(path)
    for node in loaded.graph:
        if node.op_type == "Expert":
            node.op_type, node.domain = "QMoE", "com.microsoft"
    loaded.functions.clear()
    loaded.opset_imports["com.microsoft"] = 1
    ir.save(loaded, path)


def not_a_number(path: Path) -> None:
    loaded = moe_model(hidden=32, inter=16)
    loaded.graph.initializers["model.layers.0.mlp.experts.2.down_proj.weight"].const_value.numpy()[0, 0] = (
        np.nan
    )
    ir.save(loaded, path, external_data="weights.bin")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (empty, "is empty"),
        (truncate, "model.onnx"),
        (text, "model.onnx"),
        (drop_weights, "weights.bin is missing"),
        (escape, "outside the model's folder"),
        (nothing_to_place, "nothing can be placed"),
        (other_spelling, "com.microsoft::QMoE"),
        (not_a_number, "experts.2.down_proj"),
    ],
)
def test_bad_models(tmp_path: Path, model: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(model)
    refused(tmp_path, BAD_MODEL, message, "compile", model)


def test_nan_is_found_without_a_score_that_reads_weights(tmp_path: Path, model: Path) -> None:
    not_a_number(model)
    refused(tmp_path, BAD_MODEL, "NaN", "compile", model, "--score", "random", "--digital-frac", "0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--digital-frac", "1.5"], "between 0 and 1"),
        (["--digital-frac", "-0.1"], "between 0 and 1"),
        (["--digital-frac", "nan"], "between 0 and 1"),
        (["--digital-frac", "many"], "between 0 and 1"),
        (["--digital", "layers.9.*"], "matches no unit"),
        (["--analog", "embedding"], "always digital"),
        (["--score", "best"], "maxnn"),
        (["--ranking", "alphabet"], "layer, model"),
        (["--noise", "pink"], "gaussian"),
        (["--seed", "-1"], "2^63"),
        (["--profile", "nowhere.toml"], "pcm-512"),
        (["--plan", "nowhere.json"], "nowhere.json"),
        (["--plan", "p.json", "--digital-frac", "0.5"], "--digital-frac"),
        (["--colour"], "--colour"),
    ],
)
def test_bad_options(tmp_path: Path, model: Path, options: list[str], message: str) -> None:
    refused(tmp_path, USAGE, message, "compile", model, *options)


def test_an_output_that_cannot_be_written(tmp_path: Path, model: Path) -> None:
    refused(tmp_path, UNWRITABLE, "cannot be written", "compile", model, "-o", "/proc/nowhere/out")


def test_missing_model(tmp_path: Path) -> None:
    refused(tmp_path, USAGE, "no such file", "compile", "nowhere.onnx")


def test_negative_noise_scale(tmp_path: Path, model: Path) -> None:
    refused(tmp_path, BAD_MODEL, "noise.scale is -1.0", "compile", model, "--noise-scale", "-1")


def test_existing_output(tmp_path: Path, model: Path) -> None:
    (tmp_path / "out").mkdir()
    refused(tmp_path, USAGE, "--force", "compile", model, "-o", "out")
    refused(tmp_path, USAGE, "will not replace", "compile", model, "-o", "out", "--force")


def test_plan_for_a_unit_that_is_not_there(tmp_path: Path, model: Path) -> None:
    plan = json.loads(hetc("compile", model, "--dry-run", "--json").stdout)
    plan["units"][3]["id"] = "layers.7.experts.9"
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    refused(tmp_path, BAD_MODEL, "layers.7.experts.9", "compile", model, "--plan", "plan.json")


def test_bundles_that_are_damaged(tmp_path: Path, model: Path) -> None:
    assert hetc("compile", model, "-o", tmp_path / "out").returncode == 0
    refused(tmp_path, USAGE, "no such folder", "run", "nowhere", "--prompt", "x")
    refused(tmp_path, USAGE, "near it are", "explain", "out", "layers.0.experts.99")
    refused(tmp_path, BAD_MODEL, "tokenizer.json", "run", "out", "--prompt", "x")
    (tmp_path / "out" / "model.onnx").write_bytes(b"")
    refused(tmp_path, BAD_MODEL, "model.onnx changed", "explain", "out", "lm_head")
    (tmp_path / "out" / "manifest.json").unlink()
    refused(tmp_path, BAD_MODEL, "manifest.json", "explain", "out", "lm_head")


def test_share_below_the_compiled_one(tmp_path: Path) -> None:
    assert (
        hetc("compile", SAMPLE / "model.onnx", "--digital-frac", "0.5", "-o", tmp_path / "out").returncode
        == 0
    )
    refused(tmp_path, USAGE, "below the 0.5", "run", "out", "--prompt", "x", "--digital-frac", "0.25")


@pytest.mark.parametrize("library", ["missing", "damaged", "another ABI"])
def test_library_that_does_not_load(tmp_path: Path, model: Path, library: str) -> None:
    """Runs from a copy of the package whose library is gone, garbage, or a library of something else."""
    assert hetc("compile", model, "-o", tmp_path / "out").returncode == 0
    script = (
        "import sys, hetc.runtimes.onnxruntime.library as library\n"
        "from pathlib import Path\n"
        "package = sys.modules['hetc.runtimes.onnxruntime']\n"
        "name = library.library_path().name\n"
        "folder = Path(sys.argv[1]); folder.mkdir()\n"
        "kind = sys.argv[2]\n"
        "if kind == 'damaged': (folder / name).write_bytes(b'no library')\n"
        "if kind == 'another ABI':\n"
        "    import _ctypes, shutil; shutil.copy(_ctypes.__file__, folder / name)\n"
        "package.__path__ = [str(folder)]\n"
        "sys.argv = ['hetc', 'verify', sys.argv[3]]\n"
        "from hetc.cli.main import main\n"
        "main()\n"
    )
    result = python_process(script, tmp_path / "lib", library, tmp_path / "out")
    assert result.returncode == MISSING_RUNTIME, result.stderr
    assert "Traceback" not in result.stderr


def test_a_noisy_bundle_does_not_load_without_the_library(tmp_path: Path, model: Path) -> None:
    import onnxruntime
    from onnx.reference import ReferenceEvaluator

    assert hetc("compile", model, "-o", tmp_path / "out").returncode == 0
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with pytest.raises(Exception, match="RequireLibrary"):
        onnxruntime.InferenceSession(tmp_path / "out/model.onnx", options)
    with pytest.raises(Exception, match="RequireLibrary"):
        ReferenceEvaluator(str(tmp_path / "out/model.onnx")).run(None, {"input_ids": np.arange(3)})
    portable = onnxruntime.InferenceSession(tmp_path / "out/model.portable.onnx", options)
    assert np.isfinite(portable.run(None, {"input_ids": np.arange(3)})[0]).all()


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param("", marks=pytest.mark.slow),
        pytest.param("/weights", marks=pytest.mark.slow),
        "/weights/*",
    ],
)
def test_killed_at_any_point_there_is_no_half_bundle(tmp_path: Path, begun: str) -> None:
    """Killed from outside once its folder, or that of the weights, or one of them is there."""
    arguments = [sys.executable, "-m", "hetc.cli.main", "compile", str(SAMPLE / "model.onnx"), "-o"]
    process = subprocess.Popen([*arguments, tmp_path / "out"], stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob(f"{names_beside(tmp_path / 'out').prefix}.*.partial{begun}")):
        assert process.poll() is None, "it ended before any of its work was seen"
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert hetc("compile", SAMPLE / "model.onnx", "-o", tmp_path / "out").returncode == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
