"""The paths that matter on the trained sample, once each through a real process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import SAMPLE, hetc, hetc_process

MODEL = SAMPLE / "model.onnx"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "tiny_moe.hetc"
    result = hetc("compile", MODEL, "--digital-frac", "0.25", "-o", path)
    assert result.returncode == 0, result.stderr
    return path


def test_summary_says_what_users_need(tmp_path: Path) -> None:
    result = hetc_process("compile", MODEL, "--digital-frac", "0.25", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "tiny_moe.hetc" / "manifest.json").is_file()
    assert len(result.stdout.splitlines()) <= 12
    for text in (
        "attention digital",
        "digital 34.39 %",
        "analog 61.90 %",
        "uncounted",
        "pcm, c = 1",
        "hetc verify",
    ):
        assert text in result.stdout


def imported_by(*arguments: object) -> set[str]:
    """The top-level modules that a command leaves imported."""
    script = (
        "import json, sys\n"
        "from hetc.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", script, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(result.stderr.splitlines()[-1])}


def test_compile_imports_no_torch(tmp_path: Path) -> None:
    found = imported_by("compile", MODEL, "-o", tmp_path / "bundle")
    assert (tmp_path / "bundle" / "manifest.json").is_file()
    assert {"hetc", "onnx_ir"} < found
    assert not found & {"torch", "transformers", "onnxscript", "lm_eval", "pyarrow", "joblib", "distributed"}


def test_help_imports_nothing_heavy() -> None:
    found = imported_by("--help")
    assert "hetc" in found
    assert not found & {"numpy", "onnx", "onnx_ir", "onnxruntime", "rich", "torch", "transformers"}


def test_bundle_holds_what_the_design_lists(bundle: Path) -> None:
    names = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {
        "model.onnx",
        "model.portable.onnx",
        "weights/model.safetensors",
        "plan.json",
        "manifest.json",
        "tokenizer.json",
        "genai_config.json",
    } < names
    assert any(name.startswith("lib/linux-") for name in names)
    assert json.loads((bundle / "manifest.json").read_text())["files"].keys() == names - {
        "manifest.json",
        "README.md",
    }


def test_linked_weights_are_the_same_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("model.onnx", "model.safetensors"):
        (source / name).write_bytes((SAMPLE / name).read_bytes())
    assert hetc("compile", source / "model.onnx", "--link", "-o", tmp_path / "out").returncode == 0
    assert (tmp_path / "out/weights/model.safetensors").samefile(source / "model.safetensors")
    again = hetc("compile", source / "model.onnx", "--link", "-o", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert hetc("verify", tmp_path / "again", "--source", source / "model.onnx").returncode == 0
    with (source / "model.safetensors").open("r+b") as file:
        file.seek(100_000)
        file.write(b"changed")
    result = hetc("explain", tmp_path / "out", "lm_head")
    assert result.returncode == 3
    assert "changed since it was compiled" in result.stderr


def test_verify_passes_and_names_what_it_saw(bundle: Path) -> None:
    result = hetc_process("verify", bundle, "--source", MODEL, "--json")
    assert result.returncode == 0, result.stderr
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert {check["status"] for check in checks.values()} == {"ok"}
    assert "48 AnalogExpert" in checks["kernels"]["detail"]


def test_verify_does_not_call_ok_what_it_could_not_run(tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("model.onnx", "model.safetensors"):
        (moved / name).write_bytes((SAMPLE / name).read_bytes())
    assert hetc("compile", moved / "model.onnx", "-o", tmp_path / "bundle").returncode == 0
    (moved / "model.onnx").unlink()
    result = hetc("verify", tmp_path / "bundle", "--json")
    checks = {check["name"]: check["status"] for check in json.loads(result.stdout)["checks"]}
    assert checks["exact mode = source"] == "not run"


def test_verify_fails_on_another_source(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "model.onnx"
    other.write_bytes(MODEL.read_bytes() + b"\x0a\x00")
    result = hetc_process("verify", bundle, "--source", other)
    assert result.returncode == 4
    assert "sha256 differs" in result.stdout


def test_explain_says_why_and_when_it_flips(bundle: Path) -> None:
    result = hetc_process("explain", bundle, "layers.1.experts.3")
    assert result.returncode == 0
    assert "maxnn ranks it 6 of 16 in layer 1" in result.stdout
    assert "digital from --digital-frac 0.34375 on" in result.stdout
    assert "no digital fraction" in hetc("explain", bundle, "layers.1.attention").stdout


def test_inspect_reads_models_plans_and_bundles(bundle: Path) -> None:
    model = hetc_process("inspect", MODEL)
    assert "4 MoE layers, 64 experts" in model.stdout
    assert hetc("inspect", bundle).stdout == hetc("inspect", bundle / "plan.json").stdout
    assert len(json.loads(hetc("inspect", MODEL, "--json").stdout)["units"]) == 74


@pytest.mark.parametrize("mode", ["exact", "converters", "noisy"])
def test_run_continues_a_prompt(bundle: Path, mode: str) -> None:
    result = hetc("run", bundle, "--prompt", "def __init__(self", "--mode", mode, "--max-new-tokens", 12)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("def __init__(self")
    assert len(result.stdout) > len("def __init__(self") + 10


def test_run_follows_the_seed(bundle: Path) -> None:
    options = ("--prompt", "import", "--noise-scale", 12, "--max-new-tokens", 24)
    first, other = (hetc("run", bundle, *options, "--seed", seed).stdout for seed in (1, 2))
    again = hetc_process("run", bundle, *options, "--seed", 1).stdout
    assert first == again
    assert first != other


def test_a_plan_can_be_edited_and_followed(bundle: Path, tmp_path: Path) -> None:
    plan = json.loads((bundle / "plan.json").read_text())
    unit = next(unit for unit in plan["units"] if unit["id"] == "layers.0.attention")
    unit |= {"target": "analog", "rule": "pinned", "reason": "by hand", "pinned": True}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    result = hetc("compile", MODEL, "--plan", tmp_path / "plan.json", "-o", tmp_path / "bundle", "--json")
    assert result.returncode == 0, result.stderr
    assert "4 AnalogMatMul" in hetc("verify", tmp_path / "bundle", "--source", MODEL).stdout


def test_doctor_is_content() -> None:
    result = hetc_process("doctor")
    assert result.returncode == 0, result.stdout
    assert "a model that needs it loads and runs" in result.stdout
