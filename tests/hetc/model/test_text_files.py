"""Which of the files beside a model travel with it: its own, and nothing that a link leads to."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from command_line import SAMPLE
from command_line import hetc as run_hetc
from models import saved_moe_model

import hetc
from hetc.model.text_files import copy_text_files

CONFIG = {"model": {"decoder": {"filename": "model.onnx"}}}


def test_links_that_lead_out_stay_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "secret").write_text("secret")
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source, target):
        folder.mkdir()
    (source / "config.json").write_text("{}")
    (source / "tokenizer.json").symlink_to("config.json")
    (source / "chat_template.jinja").symlink_to(tmp_path / "secret")
    (source / "merges.txt").symlink_to("../secret")
    (source / "vocab.json").symlink_to("vocab.json")
    (source / "added_tokens.json").symlink_to("nowhere")
    (source / "tokenizer.model").mkdir()
    os.mkfifo(source / "generation_config.json")
    copy_text_files(source, target)
    assert sorted(file.name for file in target.iterdir()) == ["config.json", "tokenizer.json"]
    assert all(not file.is_symlink() for file in target.iterdir())
    assert "chat_template.jinja leads out of its folder" in caplog.text


def test_the_cache_of_hugging_face_is_made_of_links(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b/snapshots/12ab"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--a--b/blobs").mkdir()
    (tmp_path / "models--a--b/blobs/99ff").write_text("{}")
    (snapshot / "tokenizer.json").symlink_to("../../blobs/99ff")
    (tmp_path / "other").write_text("secret")
    (snapshot / "merges.txt").symlink_to("../../../other")
    target = tmp_path / "target"
    target.mkdir()
    copy_text_files(snapshot, target)
    assert [file.name for file in target.iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize("name", ["chat_template.jinja", "genai_config.json"])
def test_compile_takes_none_along(tmp_path: Path, name: str) -> None:
    model = saved_moe_model(tmp_path)
    (tmp_path / "outside").write_text(json.dumps(CONFIG))
    (model.parent / name).symlink_to(tmp_path / "outside")
    bundle = hetc.compile(model, tmp_path / "out.hetc")
    assert not (bundle.path / name).exists()
    assert name not in bundle.manifest


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"model": 1}', '{"model": {"decoder": []}}', "[" * 9999, b"\xff"]
)
def test_a_damaged_genai_config_is_named(tmp_path: Path, text: str | bytes) -> None:
    model = saved_moe_model(tmp_path)
    config = model.parent / "genai_config.json"
    config.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = run_hetc("compile", model, "-o", tmp_path / "out.hetc")
    assert done.returncode == 3, done.stderr
    assert str(config) in done.stderr
    assert not (tmp_path / "out.hetc").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "bundle"
    return hetc.compile(SAMPLE / "model.onnx", output, digital_frac=1).path


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
@pytest.mark.parametrize("text", ["", "[]", "{", '{"model": 1}', '{"eos_token_id": "x"}', "[" * 9999])
def test_damaged_files_of_a_bundle_are_named_by_run(
    tmp_path: Path, whole: Path, name: str, text: str
) -> None:
    bundle = shutil.copytree(whole, tmp_path / "bundle")
    (bundle / name).write_text(text)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name]["size"] = (bundle / name).stat().st_size
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    done = run_hetc("run", bundle, "--prompt", "x", "--max-new-tokens", 1)
    harmless = name == "config.json" and text == '{"model": 1}'
    assert done.returncode == (0 if harmless else 3), done.stderr
