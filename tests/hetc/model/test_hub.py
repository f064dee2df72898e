"""`hf://OWNER/NAME` is a path on this machine: out of the cache without a network, else downloaded."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest
from command_line import SAMPLE, hetc, hetc_process
from hub import REVISION, serve_hub, write_snapshot
from models import saved_moe_model

import hetc as package
from hetc.base.errors import RuntimeMissingError, UsageError
from hetc.compiler.loading import find_model
from hetc.model.hub import as_hub_id, is_hub_id, local_path
from hetc.model.tokenizer import load_tokenizer

URL = "/{repo_id}/resolve/{revision}/{filename}"
constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, as HF_HUB_CACHE names it to a process that starts; HF_HUB_OFFLINE is set."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A repository as ONNX models are published: variants in a folder, configuration above it."""
    model = saved_moe_model(tmp_path)
    graphs = {f"onnx/{name}": model for name in ("model.onnx", "model_q4.onnx")}
    texts = {name: SAMPLE / name for name in ("config.json", "generation_config.json", "tokenizer.json")}
    return {**graphs, "onnx/weights.bin": model.with_name("weights.bin"), **texts}


def test_what_names_a_place_on_the_hub() -> None:
    assert is_hub_id("hf://a/b") and is_hub_id(Path("hf://a/b/model.onnx"))
    assert not is_hub_id("a/b") and not is_hub_id(Path("hf/a"))
    assert as_hub_id(Path("hf://a/b@v1/onnx")) == as_hub_id("hf://a/b@v1/onnx") == "hf://a/b@v1/onnx"
    assert as_hub_id("a/b") == "hf://a/b"
    assert local_path("a/b", "model") == Path("a/b")


@pytest.mark.parametrize(
    ("given", "file"),
    [
        ("hf://a/b", "onnx/model.onnx"),
        ("hf://models/a/b", "onnx/model.onnx"),
        ("hf://a/b@main", "onnx/model.onnx"),
        (f"hf://a/b@{REVISION}/onnx", "onnx/model.onnx"),
        ("hf://a/b/onnx/model_q4.onnx", "onnx/model_q4.onnx"),
    ],
)
def test_spellings(cache: Path, files: dict[str, Path], given: str, file: str) -> None:
    snapshot = write_snapshot(cache, "a/b", files)
    assert local_path(given, "model") == snapshot / file
    assert find_model(Path(given)) == snapshot / file


def test_the_plain_variant_is_taken(
    cache: Path, files: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    snapshot = write_snapshot(cache, "a/b", files)
    with caplog.at_level(logging.WARNING):
        assert local_path("hf://a/b", "model") == find_model(snapshot) == snapshot / "onnx/model.onnx"
    assert "hf://a/b: takes onnx/model.onnx; there are also onnx/model_q4.onnx" in caplog.text
    decoders = {f"onnx/{name}.onnx": files["onnx/model.onnx"] for name in ("decoder_model", "encoder_model")}
    write_snapshot(cache, "a/parts", decoders)
    with pytest.raises(UsageError, match=r"several models \(onnx/decoder_model\.onnx, onnx/encoder_model"):
        local_path("hf://a/parts", "model")
    deep = write_snapshot(cache, "a/deep", {"cpu/int4/model.onnx": files["onnx/model.onnx"]})
    with pytest.raises(UsageError, match=r"name one: hf://a/deep/cpu/int4/model\.onnx"):
        local_path("hf://a/deep", "model")
    assert local_path("hf://a/deep/cpu/int4", "model") == deep / "cpu/int4/model.onnx"


@pytest.mark.parametrize("shared", [False, True])
def test_compile_and_its_record(cache: Path, files: dict[str, Path], tmp_path: Path, shared: bool) -> None:
    write_snapshot(cache, "a/b", files, shared=shared)
    done = hetc("compile", "hf://a/b/onnx/model.onnx", "--link", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    bundle = package.load_bundle(tmp_path / "b.hetc")
    assert bundle.plan.source["hub"] == f"hf://a/b@{REVISION}/onnx/model.onnx"
    assert f"Made of hf://a/b@{REVISION}/onnx/model.onnx" in (bundle.path / "README.md").read_text()
    assert (bundle.path / "weights/weights.bin").stat().st_nlink == 2
    assert (bundle.path / "tokenizer.json").read_bytes() == files["tokenizer.json"].read_bytes()
    assert not any(file.is_symlink() for file in bundle.path.rglob("*"))
    checks = {
        check.name: check.status for check in package.verify(bundle, "hf://a/b/onnx/model.onnx", seeds=2)
    }
    assert set(checks.values()) == {"ok"}, checks


def test_a_checkpoint_and_its_tokenizer(cache: Path, files: dict[str, Path]) -> None:
    from hetc.huggingface.checkpoint import resolve_source

    texts = {name: file for name, file in files.items() if not name.startswith("onnx/")}
    snapshot = write_snapshot(cache, "a/moe", {**texts, "model.safetensors": SAMPLE / "model.safetensors"})
    for given in ("a/moe", "hf://a/moe", Path("hf://a/moe@main")):
        assert resolve_source(given) == snapshot
    assert load_tokenizer("hf://a/moe").get_vocab_size() > 0
    assert load_tokenizer(Path("hf://a/moe/tokenizer.json")).get_vocab_size() > 0
    with pytest.raises(
        UsageError, match=r"holds a checkpoint and no ONNX model.*hetc export hf://a/moe -o moe-onnx"
    ):
        local_path("hf://a/moe", "model")
    nested = write_snapshot(cache, "a/nested", {f"fp32/{name}": file for name, file in texts.items()})
    assert resolve_source("hf://a/nested/fp32") == nested / "fp32"


def test_text_of_a_place_on_the_hub(cache: Path, files: dict[str, Path], tmp_path: Path) -> None:
    write_snapshot(cache, "a/b", {"tokenizer.json": files["tokenizer.json"]})
    (tmp_path / "story.txt").write_text("def main() -> None:")
    done = hetc("tokens", tmp_path / "story.txt", "--tokenizer", "hf://a/b", "-o", tmp_path / "t.npz")
    assert done.returncode == 0, done.stderr
    assert "8 tokens" in done.stderr


def test_a_sweep_names_a_place_on_the_hub(cache: Path, files: dict[str, Path], tmp_path: Path) -> None:
    from hetc.evaluation.sweep_spec import load_sweep

    snapshot = write_snapshot(cache, "a/b", files)
    (tmp_path / "sweep.toml").write_text(
        f'model = "hf://a/b/onnx/model.onnx"\ntokenizer = "hf://a/b"\ndata = "{SAMPLE}/heldout.npz"\n'
    )
    spec = load_sweep(tmp_path / "sweep.toml")
    assert (spec.model, spec.tokenizer) == (snapshot / "onnx/model.onnx", snapshot)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("hf://a/nowhere", "HF_HUB_OFFLINE is set"),
        ("hf://a/b@v9", "HF_HUB_OFFLINE is set"),
        ("hf://a/b/onnx/other.onnx", "no such file, but onnx/model.onnx, onnx/model_q4.onnx"),
        ("hf://a", "names no place on the hub; write hf://OWNER/NAME"),
        ("hf://datasets/a/b", "is a dataset"),
        ("onnx-community/Some-Model", "a repository of the hub is hf://onnx-community/Some-Model"),
        ("hf://a/bundle", "hf download"),
    ],
)
def test_what_cannot_be_had_is_one_line(
    cache: Path, files: dict[str, Path], tmp_path: Path, given: str, said: str
) -> None:
    write_snapshot(cache, "a/b", files)
    write_snapshot(cache, "a/bundle", dict.fromkeys(("manifest.json", "plan.json"), SAMPLE / "config.json"))
    done = hetc("compile", given, "-o", tmp_path / "out.hetc")
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert given in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.hetc").exists()


def test_bundles_are_downloaded_by_themselves() -> None:
    with pytest.raises(UsageError, match="hf://a/b is on the hub, and bundles are run from a folder"):
        package.load_bundle(Path("hf://a/b"))


def test_without_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("huggingface_hub", "huggingface_hub.errors", "huggingface_hub.utils"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RuntimeMissingError, match=r"hf://a/b needs huggingface_hub.*pip install '\.\[hub\]'"):
        local_path("hf://a/b", "model")


def test_only_what_is_needed_is_downloaded(
    cache: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    more = {**files, "model.safetensors": SAMPLE / "model.safetensors", "README.md": SAMPLE / "config.json"}
    with serve_hub("a/b", more) as (address, downloaded):
        # As HF_ENDPOINT=ADDRESS and HF_HUB_OFFLINE=0 set them.
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + URL)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        file = local_path("hf://a/b", "model")
        assert "there are also onnx/model_q4.onnx" in caplog.text
        assert sorted(downloaded) == sorted({*files} - {"onnx/model_q4.onnx"})
        assert local_path("hf://a/b", "checkpoint") == cache / "models--a--b/snapshots" / REVISION
        assert downloaded[len(files) - 1 :] == ["model.safetensors"]
        with pytest.raises(UsageError, match="no such repository, or a private one"):
            local_path("hf://a/other", "model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert local_path("hf://a/b", "model") == file
    with pytest.raises(UsageError, match="not all of it, in the local cache"):
        local_path("hf://a/b/onnx/model_q4.onnx", "model")


@pytest.mark.slow
def test_a_process_without_a_network(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    write_snapshot(tmp_path / "hub", "a/b", files)
    done = hetc_process("inspect", "hf://a/b", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["units"]
