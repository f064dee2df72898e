"""A model without experts through every command: MLPs, attention and LM head are units as elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from command_line import SAMPLE, hetc  # noqa: E402
from families import save_random_model  # noqa: E402
from places import SAMPLES  # noqa: E402
from squared_errors import squared_errors  # noqa: E402

import hetc as hetc_api  # noqa: E402
from hetc.bundle.bundle import Bundle, load_bundle  # noqa: E402
from hetc.compiler.compile import plan_model  # noqa: E402
from hetc.evaluation.likelihood import session_forward, token_losses  # noqa: E402
from hetc.hardware.profile import Profile  # noqa: E402
from hetc.huggingface.export.export import export  # noqa: E402
from hetc.huggingface.live.apply import apply_plan  # noqa: E402
from hetc.huggingface.live.forward import model_predict  # noqa: E402
from hetc.huggingface.live.labels import draw_labels  # noqa: E402
from hetc.huggingface.live.sensitivity import measure_scores  # noqa: E402
from hetc.plan.scores import load_scores  # noqa: E402

pytestmark = pytest.mark.slow  # tracing takes most of it; tests/hetc/compiler/test_dense_graph.py is quick
LAYERS = 2
MLPS = "layers.*.mlp"
TOKENS = np.random.default_rng(0).integers(3, 1000, (8, 32))


class Dense:
    """A Llama of two layers, exported and compiled with its MLPs analog."""

    def __init__(self, folder: Path) -> None:
        config = transformers.LlamaConfig(
            vocab_size=1024,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            bos_token_id=0,
            eos_token_id=0,
            tie_word_embeddings=True,
        )
        self.checkpoint = folder / "checkpoint"
        self.model: Any = save_random_model(config, self.checkpoint)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(SAMPLE / name, self.checkpoint)
        self.onnx = export(self.checkpoint, folder / "exported")
        self.data = folder / "tokens.npz"
        np.savez(self.data, tokens=TOKENS)
        self.bundle: Bundle = hetc_api.compile(self.onnx, folder / "analog.hetc", analog=MLPS)

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """Transformers' own."""
        with torch.no_grad():
            return self.model(torch.from_numpy(tokens)).logits.numpy()


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Dense:
    return Dense(tmp_path_factory.mktemp("dense"))


def said(*arguments: object) -> str:
    done = hetc(*arguments)
    assert done.returncode == 0, done.stderr
    return " ".join((done.stdout + done.stderr).split())


def test_export_and_exact_mode_equal_transformers(dense: Dense) -> None:
    expected = dense.logits(TOKENS[:2])
    plain = onnxruntime.InferenceSession(dense.onnx, providers=["CPUExecutionProvider"])
    for session in (plain, dense.bundle.session(mode="exact")):
        np.testing.assert_allclose(session_forward(session)(TOKENS[:2]), expected, atol=1e-4)


def test_inspect_says_that_there_are_no_experts(dense: Dense) -> None:
    text = said("inspect", dense.onnx)
    assert "a dense model, without experts" in text and "MoE" not in text
    units = json.loads(said("inspect", dense.onnx, "--json"))["units"]
    kinds = [unit["kind"] for unit in units]
    assert kinds.count("dense_mlp") == kinds.count("attention") == LAYERS and "expert" not in kinds
    assert "dense_mlp analog" in said("inspect", dense.bundle.path)


def test_all_mlps_digital_is_the_source(dense: Dense, tmp_path: Path) -> None:
    text = said("compile", dense.onnx, "--digital-frac", "1", "-o", tmp_path / "digital.hetc")
    assert "digital fraction 1 of MLPs" in text
    bundle = load_bundle(tmp_path / "digital.hetc")
    assert {unit.target for unit in bundle.plan.units} == {"digital"}
    np.testing.assert_allclose(
        session_forward(bundle.session())(TOKENS[:2]), dense.logits(TOKENS[:2]), atol=1e-4
    )
    assert "nothing analog" in said("verify", bundle.path, "--source", dense.onnx)


def test_verify_and_run_with_analog_mlps(dense: Dense) -> None:
    text = said("verify", dense.bundle.path, "--source", dense.onnx)
    assert f"{3 * LAYERS} AnalogMatMul" in text and "failed" not in text and "not run" not in text
    assert said("run", dense.bundle.path, "--prompt", "class Reader:", "--max-new-tokens", 4)


def test_the_live_model_has_the_bundles_losses(dense: Dense) -> None:
    expected = token_losses(session_forward(dense.bundle.session()), TOKENS)
    with apply_plan(dense.model, dense.bundle.plan):
        actual = model_predict(dense.model)(TOKENS)[0]
    clean = model_predict(dense.model)(TOKENS)[0]
    assert abs(actual.mean() - expected.mean()) <= 1e-3
    assert np.median(np.abs(actual - expected)) < 0.01 < np.median(np.abs(actual - clean))


def test_score_feeds_a_budget(dense: Dense, tmp_path: Path) -> None:
    file = tmp_path / "scores.safetensors"
    text = said("score", dense.checkpoint, "--data", dense.data, "--window", 32, "-o", file)
    assert "dense modules" in text and "experts" not in text
    scores = load_scores(file).values
    units = {f"layers.{layer}.{unit}" for layer in range(LAYERS) for unit in ("mlp", "attention")} | {
        "lm_head"
    }
    assert set(scores) == {"expected-loss"} and set(scores["expected-loss"]) == units
    assert all(value > 0 for value in scores["expected-loss"].values())
    hint = text.partition("next: hetc ")[2].split()
    assert "--ranking" in hint
    said(*(dense.onnx if word == "MODEL" else word for word in hint), "--dry-run")
    choices = ("--score", "expected-loss", "--scores", file, "--budget", "parameters:60%", "--dry-run")
    plan = json.loads(said("compile", dense.onnx, *choices, "--json"))
    placed = [unit for unit in plan["units"] if unit["id"] in units]
    assert {unit["rule"] for unit in placed} == {"budget"}
    worth = {unit["id"]: scores["expected-loss"][unit["id"]] / unit["parameters"] for unit in placed}
    moved = {unit["id"] for unit in placed if unit["target"] == "analog"}
    assert moved and moved == set(sorted(worth, key=worth.__getitem__)[: len(moved)])


def test_gpt2_keeps_its_weights_turned(tmp_path: Path) -> None:
    """Its linear layers are `[inputs, outputs]`, of a class of transformers' own."""
    config = transformers.GPT2Config(
        vocab_size=1024, n_embd=64, n_inner=96, n_layer=1, n_head=4, n_positions=64, bos_token_id=0
    )
    model = save_random_model(config, tmp_path / "checkpoint")
    bundle = hetc_api.compile(
        export(tmp_path / "checkpoint", tmp_path / "onnx"), tmp_path / "out", analog=MLPS
    )
    expected = token_losses(session_forward(bundle.session()), TOKENS)
    with apply_plan(model, bundle.plan):
        actual = model_predict(model)(TOKENS)[0]
    clean = model_predict(model)(TOKENS)[0]
    assert abs(actual.mean() - expected.mean()) <= 1e-3
    assert np.median(np.abs(actual - expected)) < 0.01 < np.median(np.abs(actual - clean))
    profile = bundle.plan.profile
    losses = measure_scores(tmp_path / "checkpoint", TOKENS[:1], profile).values["expected-loss"]
    assert set(losses) == {"layers.0.attention", "layers.0.mlp", "lm_head"}  # tied, and yet a product
    assert losses["layers.0.mlp"] == pytest.approx(expected_loss(model, TOKENS[0], profile), rel=1e-3)


def expected_loss(model: Any, tokens: np.ndarray, profile: Profile) -> float:
    """Of GPT-2's first MLP, from its definition."""
    ids = torch.from_numpy(tokens)[None]
    logits = model(ids).logits[0, :-1]
    labels = draw_labels(logits.detach().softmax(-1)[None], 0, seed=0)[0]
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    weights = [model.transformer.h[0].mlp.c_fc.weight, model.transformer.h[0].mlp.c_proj.weight]
    total = 0.0
    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        total += float((gradient.T**2 * squared_errors(weight.detach().T, profile)).sum())
    return total / (2 * ids.numel())


def test_calibrate_gives_static_ranges(dense: Dense, tmp_path: Path) -> None:
    file = tmp_path / "calibration.safetensors"
    text = said("calibrate", dense.onnx, "--data", dense.data, "--window", 32, "-o", file)
    assert f"{TOKENS.size} tokens" in text and "experts" not in text
    plan = plan_model(dense.onnx, analog=MLPS, calibration=file)[1]
    assert all(unit.input_ranges for unit in plan.units if unit.target == "analog")
    assert "tokens/s" in said("cost", dense.bundle.path, "--calibration", file)


def test_sweep_report_and_cost(dense: Dense, tmp_path: Path) -> None:
    spec = tmp_path / "sweep.toml"
    spec.write_text(
        f"model = '{dense.onnx}'\ndata = '{dense.data}'\nwindow = 32\nwindows = 2\nseeds = 1\n"
        f"kinds = ['none', 'dense_mlp']\nfractions = [0]\nanalog = ['{MLPS}']\n"
    )
    said("sweep", spec, "-o", tmp_path / "results.parquet")
    results = ("--results", tmp_path / "results.parquet")
    assert "figures" in said("report", dense.bundle.path, *results, "-o", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "dense_mlp" in page and ">expert<" not in page


def test_evaluate(dense: Dense) -> None:
    text = said(
        "evaluate",
        dense.bundle.path,
        "--tasks",
        "stdlib_next_line",
        "--include-path",
        SAMPLES / "tasks",
        "--limit",
        2,
    )
    assert "stdlib_next_line" in text


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("tune", "BUNDLE", "--data", "DATA", "--window", 32), "no expert or neuron whose share"),
        (("mitigate", "MODEL", "--data", "DATA", "--window", 32, "--replace", 1), "no experts to replace"),
    ],
)
def test_what_needs_experts_says_so(
    dense: Dense, tmp_path: Path, command: tuple[object, ...], message: str
) -> None:
    names = {"BUNDLE": dense.bundle.path, "MODEL": dense.onnx, "DATA": dense.data}
    asked = [names.get(str(word), word) for word in command]
    done = hetc(*asked, *(["-o", tmp_path / "out"] if command[0] == "mitigate" else []))
    assert done.returncode in (2, 3) and message in done.stderr
    assert not (tmp_path / "out").exists()
