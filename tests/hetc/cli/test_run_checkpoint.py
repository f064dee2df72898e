"""`hetc run` with a plan on its checkpoint, in torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from command_line import hetc  # noqa: E402
from places import SAMPLES  # noqa: E402

PROMPT = ("--prompt", "def __init__(self", "--max-new-tokens", 16)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "bundle"
    done = hetc("compile", SAMPLES / "tiny_moe" / "model.onnx", "--digital-frac", 0, "-o", folder)
    assert done.returncode == 0, done.stderr
    return folder


def said(*arguments: Any) -> str:
    done = hetc("run", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("sample", [pytest.param("tiny_moe", marks=pytest.mark.slow), "tiny_deepseek"])
def test_exact_text_is_the_bundles(sample: str, tmp_path: Path) -> None:
    assert hetc("compile", SAMPLES / sample / "model.onnx", "-o", tmp_path / "bundle").returncode == 0
    exact = (*PROMPT, "--mode", "exact")
    text = said(tmp_path / "bundle", *exact)
    checkpoint = ("--checkpoint", SAMPLES / sample)
    assert said(tmp_path / "bundle", *exact, *checkpoint) == text
    assert said(tmp_path / "bundle" / "plan.json", *exact, *checkpoint, "--device", "cpu") == text
    assert len(text) > len("def __init__(self") + 10


def test_choices_count(bundle: Path) -> None:
    on = (bundle / "plan.json", *PROMPT, "--checkpoint", SAMPLES / "tiny_moe")
    loud = (*on, "--noise-scale", 12)
    first = said(*loud, "--seed", 1)
    assert said(*loud, "--seed", 1, "--low-memory") == first
    assert said(*loud, "--seed", 2) != first
    exact = said(*on, "--mode", "exact")
    assert first != exact
    assert said(*loud, "--seed", 1, "--digital-frac", 1) == exact


def refused(code: int, text: str, *arguments: Any) -> None:
    done = hetc("run", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr


def test_what_is_refused(bundle: Path, tmp_path: Path) -> None:
    plan, sample = bundle / "plan.json", SAMPLES / "tiny_moe"
    on = (*PROMPT, "--checkpoint", sample)
    refused(2, "--threads is for a bundle's session", plan, *on, "--threads", 1)
    refused(2, "give the --checkpoint", bundle, *PROMPT, "--device", "cpu")
    refused(2, "device 'abacus' can't be used", plan, *on, "--device", "abacus")
    refused(2, "give a bundle", plan, *PROMPT)
    refused(2, "is a model; compile it", sample / "model.onnx", *on)
    other = ("--checkpoint", SAMPLES / "tiny_deepseek")
    refused(3, "the plan was made for another model", plan, *PROMPT, *other)
    refused(3, "more than the 1024 that config.json", plan, "--prompt", "x\n" * 600, "--checkpoint", sample)
    (tmp_path / "checkpoint").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "checkpoint" / name).symlink_to(sample / name)
    refused(3, "has no tokenizer.json", plan, *PROMPT, "--checkpoint", tmp_path / "checkpoint")
    few = ("--digital-frac", "15/16", "-o", tmp_path / "few")
    assert hetc("compile", sample / "model.onnx", *few).returncode == 0
    assert hetc("bake", tmp_path / "few", "-o", tmp_path / "baked").returncode == 0
    refused(2, "is baked", tmp_path / "baked", *on)


def test_transformers_is_missing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hetc.huggingface.live.apply", "hetc.huggingface.live.forward"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "transformers.pytorch_utils", None)
    on = (bundle / "plan.json", *PROMPT, "--checkpoint", SAMPLES / "tiny_moe")
    refused(5, "pip install '.[export]'", *on)
