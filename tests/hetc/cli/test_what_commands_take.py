"""Each command takes what a user would hand it, or says what it got and what to give."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import SAMPLE, hetc

from hetc.plan.scores import Scores


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle `a.hetc`, what was made of it, and files of each other kind."""
    folder, few = tmp_path_factory.mktemp("things"), tmp_path_factory.mktemp("few") / "few.hetc"
    for command in (
        ("compile", SAMPLE / "model.onnx", "-o", folder / "a.hetc"),
        ("compile", SAMPLE / "model.onnx", "--digital-frac", "15/16", "-o", few),
        ("bake", few, "-o", folder / "baked.hetc", "--seed", 1),
        ("partition", folder / "a.hetc", "-o", folder / "parts"),
    ):
        done = hetc(*command)
        assert done.returncode == 0, done.stderr
    Scores({"loss": {"layers.0.experts.1": 2.0, "lm_head": 0.5}}, {"tokens": "9"}).save(
        folder / "scores.safetensors"
    )
    shown = hetc("profiles", "show", "harp").stdout
    (folder / "costs.toml").write_text(shown.replace('"harp"', '"mine"', 1))
    return folder


def test_a_baked_bundle_is_verified(folder: Path) -> None:
    done = hetc("verify", folder / "baked.hetc", "--json")
    assert done.returncode == 0, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert {name: check["status"] for name, check in checks.items()} == {
        "files": "ok",
        "exact mode = source": "not run",
        "kernels": "ok",
        "outputs are finite": "ok",
        "noise": "not run",
    }
    assert "seed 1, c = 1, t = 0" in checks["exact mode = source"]["detail"]


def test_a_changed_weight_of_a_baked_bundle_is_found(folder: Path) -> None:
    (weights,) = (folder / "baked.hetc/weights").iterdir()
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert hetc("verify", folder / "baked.hetc").returncode == 4
    weights.write_bytes(before)


def test_explain_takes_bundles_plans_and_models(folder: Path) -> None:
    said = {
        hetc("explain", path, "layers.1.experts.3").stdout
        for path in (folder / "a.hetc", folder / "a.hetc/plan.json", SAMPLE / "model.onnx", SAMPLE)
    }
    assert len(said) == 1
    (text,) = said
    assert "ranks it 6 of 16" in text and "rank 6 of 16" in text and "rank 5" not in text
    data = json.loads(hetc("explain", folder / "a.hetc", "layers.1.experts.3", "--json").stdout)
    assert data["rank"] == 5


def test_articles_and_plurals(folder: Path) -> None:
    text = hetc("explain", folder / "a.hetc", "embedding").stdout
    assert "units of kind embedding are never placed analog" in text
    text = hetc("explain", folder / "a.hetc", "lm_head").stdout
    assert " 1 tile when analog" in text or " tiles when analog" in text


def test_cost_profiles_are_shown(folder: Path) -> None:
    done = hetc("profiles", "show", folder / "costs.toml")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (folder / "costs.toml").read_text()
    data = json.loads(hetc("profiles", "show", folder / "costs.toml", "--json").stdout)
    assert data["name"] == "mine" and data["digital"]["power"]["unit"] == "W"


def test_scores_are_shown(folder: Path) -> None:
    done = hetc("inspect", folder / "scores.safetensors")
    assert done.returncode == 0, done.stderr
    assert "score loss: 2 units, 0.5 to 2" in done.stdout and "tokens  9" in done.stdout
    data = json.loads(hetc("inspect", folder / "scores.safetensors", "--json").stdout)
    assert data["values"]["loss"]["lm_head"] == 0.5
    done = hetc("inspect", SAMPLE / "model.safetensors")
    assert done.returncode == 3 and "neither scores" in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("verify a.hetc/plan.json", "is the plan of the bundle"),
        ("run a.hetc/model.onnx --prompt x", "is the model of the bundle"),
        ("tune parts --data no.npz", "is a folder of partitions; give a bundle"),
        ("bake costs.toml -o out", "is a profile or sweep; give a bundle"),
        ("partition scores.safetensors -o out", "is a file of weights or measurements; give a bundle"),
        ("verify .", "is a folder with the bundles a.hetc, baked.hetc; give a bundle"),
        ("verify nothing", "no such folder"),
        ("compile a.hetc", "is a bundle; give the model that it was compiled from"),
        ("compile a.hetc/plan.json", "is the plan of the bundle"),
        ("compile .", "is a folder with the bundles a.hetc, baked.hetc; give a model's .onnx file"),
        ("inspect .", "is a folder with the bundles a.hetc, baked.hetc; give a model's .onnx file"),
        ("inspect a.hetc/manifest.json", "is the manifest of the bundle"),
        ("inspect parts/partitions.json", "is the list of the partitions"),
        ("bake baked.hetc -o out", "is baked already"),
    ],
)
def test_what_it_got_is_said(folder: Path, command: str, said: str) -> None:
    done = hetc(*command.split(), cwd=folder)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert not (folder / "out").exists()


@pytest.mark.parametrize("threads", [0, -1, 1_000_000])
def test_threads_have_a_bound(folder: Path, threads: int) -> None:
    done = hetc("run", folder / "a.hetc", "--prompt", "x", "--threads", threads)
    assert done.returncode == 2
    assert "threads" in done.stderr
