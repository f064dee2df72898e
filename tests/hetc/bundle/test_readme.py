"""What a bundle's README says works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import onnxruntime
import pytest
from places import SAMPLES

import hetc


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme") / "a.hetc"
    return hetc.compile(SAMPLES / "tiny_moe/model.onnx", folder, digital_frac="7/8").path


def python_blocks(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


def run(code: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(code, names)
    return names


def test_python_blocks_run(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle)
    blocks = [block for block in python_blocks(bundle) if "genai" not in block]
    assert len(blocks) == 3
    for block in blocks:
        assert isinstance(run(block)["session"], onnxruntime.InferenceSession)


def test_genai_block_runs(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime_genai")
    monkeypatch.chdir(bundle)
    (block,) = [block for block in python_blocks(bundle) if "genai" in block]
    assert run(block)["model"] is not None


def test_it_names_what_is_there(bundle: Path) -> None:
    text = (bundle / "README.md").read_text()
    for heading in ("## Python", "## C", "## onnxruntime-genai", "## Without the library"):
        assert heading in text
    (library,) = re.findall(r'RegisterCustomOpsLibrary_V2\(options, "(.*)"\)', text)
    assert (bundle / library).is_file()
    assert "{" not in re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def test_people_may_write_into_it(bundle: Path) -> None:
    with (bundle / "README.md").open("a") as file:
        file.write("Ours: the one for the demo.\n")
    assert hetc.load_bundle(bundle).path == bundle


def test_a_baked_bundle_needs_no_library(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baked = hetc.bake_bundle(bundle, tmp_path / "baked", seed=3)
    monkeypatch.chdir(baked.path)
    first, *_ = python_blocks(baked.path)
    assert isinstance(run(first)["session"], onnxruntime.InferenceSession)
    text = Path("README.md").read_text()
    assert "seed 3" in text and "RegisterCustomOps" not in text
