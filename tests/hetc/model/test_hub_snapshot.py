"""Folders of the Hugging Face cache are read through their links; links of others lead nowhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hub import REVISION, write_snapshot
from models import saved_moe_model

from hetc.base.errors import InvalidInputError
from hetc.model.hub_snapshot import Snapshot, belongs_to, find_snapshot
from hetc.model.load import load_model
from hetc.model.model_folder import model_name, text_folder
from hetc.model.text_files import lies_in
from hetc.runtimes.onnxruntime.session import open_graph, open_session


@pytest.fixture(params=[False, True], ids=["own blobs", "shared blobs"])
def snapshot(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    model = saved_moe_model(tmp_path)
    files = {"onnx/model.onnx": model, "onnx/weights.bin": model.with_name("weights.bin")}
    return write_snapshot(tmp_path / "hub", "me/moe", files, shared=request.param)


def test_a_snapshot_is_known_by_its_place(snapshot: Path, tmp_path: Path) -> None:
    assert find_snapshot(snapshot) == Snapshot(snapshot.resolve())
    found = find_snapshot(snapshot / "onnx/model.onnx")
    assert found is not None
    assert found.id == f"hf://me/moe@{REVISION}/onnx/model.onnx"
    assert find_snapshot(tmp_path / "model/model.onnx") is None
    (tmp_path / "link").symlink_to(snapshot)
    assert find_snapshot(tmp_path / "link/onnx") == Snapshot(snapshot.resolve(), "onnx")


def test_links_of_others_are_not_followed(snapshot: Path, tmp_path: Path) -> None:
    weights = snapshot / "onnx/weights.bin"
    assert belongs_to(weights.parent, weights)
    (tmp_path / "secret").write_bytes(weights.read_bytes())
    weights.unlink()
    weights.symlink_to(tmp_path / "secret")
    assert not belongs_to(weights.parent, weights)
    with pytest.raises(InvalidInputError, match="lies outside the model's folder"):
        load_model(snapshot / "onnx/model.onnx")


def test_links_that_lead_nowhere(snapshot: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights, tokenizer = snapshot / "onnx/weights.bin", snapshot / "tokenizer.json"
    weights.unlink()
    weights.symlink_to(weights.name)
    with pytest.raises(InvalidInputError, match="lies outside the model's folder"):
        load_model(snapshot / "onnx/model.onnx")
    for target in ("nothing", tokenizer.name):
        tokenizer.unlink(missing_ok=True)
        tokenizer.symlink_to(target)
        assert not lies_in(snapshot, tokenizer)
        assert "a link that leads nowhere, and stays behind" in caplog.messages.pop()


def test_sessions_follow_links(snapshot: Path, tmp_path: Path) -> None:
    file = snapshot / "onnx/model.onnx"
    plain = open_session(tmp_path / "model/model.onnx")
    feeds = {"input_ids": np.arange(3)}
    expected = plain.run(None, feeds)[0]
    for session in (open_session(file), open_graph(load_model(file).model, file.parent)):
        np.testing.assert_array_equal(session.run(None, feeds)[0], expected)


def test_names_and_texts(snapshot: Path, tmp_path: Path) -> None:
    file = snapshot / "onnx/model.onnx"
    assert model_name(file) == "moe"
    assert model_name(tmp_path / "model/model.onnx") == "model"
    assert model_name(tmp_path / "model/other.onnx") == "other"
    assert text_folder(file) == file.parent
    (snapshot / "config.json").write_text("{}")
    assert text_folder(file) == snapshot
    assert text_folder(tmp_path / "model/model.onnx") == tmp_path / "model"
