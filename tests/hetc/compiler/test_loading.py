"""Every command takes the same things, and says what it got where it can't."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import hetc
from places import SAMPLES

from hetc.base.errors import UsageError
from hetc.bundle.bundle import Bundle
from hetc.compiler.compile import compile
from hetc.compiler.loading import find_model, open_placed
from hetc.model.load import LoadedModel
from hetc.plan.plan import Plan

MODEL = SAMPLES / "tiny_moe" / "model.onnx"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return compile(MODEL, tmp_path_factory.mktemp("loading") / "tiny.hetc", link=False)


def test_a_folder_with_one_model_is_that_model() -> None:
    assert find_model(MODEL.parent) == MODEL
    assert find_model(MODEL) == MODEL


def test_a_vision_tower_beside_the_model_is_not_meant(tmp_path: Path) -> None:
    for name in ("model.onnx", "vision.onnx"):
        shutil.copyfile(MODEL, tmp_path / name)
    assert find_model(tmp_path) == tmp_path / "model.onnx"


def test_what_a_path_leads_to(bundle: Bundle) -> None:
    assert isinstance(open_placed(bundle.path), Bundle)
    assert isinstance(open_placed(bundle.path / "plan.json"), Plan)
    assert isinstance(open_placed(MODEL.parent), LoadedModel)


def test_a_bundle_is_no_model(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match=r"is a bundle; give the model .*model\.onnx"):
        find_model(bundle.path)


def test_other_things_are_named(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="no such file"):
        find_model(tmp_path / "nowhere.onnx")
    with pytest.raises(UsageError, match=r"is a folder without a model; give a model's \.onnx file"):
        find_model(tmp_path)
    with pytest.raises(UsageError, match="hetc compile MODEL --plan"):
        find_model(bundle.path / "plan.json")
    shutil.copyfile(SAMPLES / "tiny_moe/model.safetensors", tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="is a checkpoint; make a model of it first: hetc export"):
        find_model(tmp_path)
    with pytest.raises(UsageError, match="not a graph"):
        find_model(tmp_path / "model.safetensors")
    for name in "ab":
        shutil.copyfile(MODEL, tmp_path / f"{name}.onnx")
    with pytest.raises(UsageError, match=r"several models \(a\.onnx, b\.onnx\)"):
        find_model(tmp_path)


@pytest.mark.parametrize("command", ["compile --dry-run", "inspect", "cost"])
def test_commands_take_a_folder(command: str) -> None:
    name, *options = command.split()
    assert hetc(name, str(MODEL.parent), *options).returncode == 0


@pytest.mark.parametrize(
    "choices", [{"digital_frac": 0.5}, {"seed": 1}, {"profile": "pcm-512"}, {"score": "random"}]
)
def test_a_plan_says_all(bundle: Bundle, tmp_path: Path, choices: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="already says"):
        compile(MODEL, tmp_path / "b", plan=bundle.plan, **choices)  # type: ignore[arg-type]
    assert not (tmp_path / "b").exists()
