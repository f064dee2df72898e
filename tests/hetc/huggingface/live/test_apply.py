"""A plan on live transformers models against the bundle of that plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from models import with_static_converters  # noqa: E402
from places import SAMPLES  # noqa: E402

import hetc  # noqa: E402
from hetc.base.errors import InvalidInputError, UsageError  # noqa: E402
from hetc.bundle.bundle import Bundle, load_bundle  # noqa: E402
from hetc.compiler.compile import plan_model  # noqa: E402
from hetc.evaluation.likelihood import session_forward, token_losses  # noqa: E402
from hetc.hardware.profile import Profile  # noqa: E402
from hetc.huggingface.export.export import export  # noqa: E402
from hetc.huggingface.live.apply import apply_plan  # noqa: E402
from hetc.huggingface.live.forward import model_predict  # noqa: E402
from hetc.plan.targets import at_fraction  # noqa: E402

TOKENS = 4096
SMALL: dict[str, Any] = {
    "vocab_size": 101,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": 2,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt_oss": {"num_local_experts": 4, "head_dim": 8, "sliding_window": 8},
    "qwen2_moe": {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 24},
}
SHARED = {"gpt_oss": (), "qwen2_moe": ("*.shared_expert",)}


def load(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def logits(model: Any, windows: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(windows)).logits.numpy()


def heldout(name: str) -> np.ndarray:
    tokens = np.load(SAMPLES / name / "heldout.npz")["tokens"].reshape(-1)
    return tokens[:TOKENS].reshape(-1, 256).astype(np.int64)


@pytest.fixture(scope="module")
def tiny_moe(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Any]:
    folder = tmp_path_factory.mktemp("apply")
    hetc.compile(SAMPLES / "tiny_moe" / "model.onnx", folder / "bundle", digital_frac=0)
    return load_bundle(folder / "bundle"), load(SAMPLES / "tiny_moe")


@pytest.mark.parametrize(
    ("sample", "granularity", "choices"),
    [
        pytest.param("tiny_moe", "expert", {}, marks=pytest.mark.slow),
        pytest.param("tiny_moe", "expert", {"mode": "converters"}, marks=pytest.mark.slow),
        ("tiny_moe", "neuron", {"noise_scale": 4, "digital_frac": 0.125}),
        pytest.param(
            "tiny_moe", "neuron:16", {"mode": "converters", "digital_frac": "1/2"}, marks=pytest.mark.slow
        ),
        ("tiny_deepseek", "expert", {"noise_scale": 4, "seed": 3, "digital_frac": 0.25}),
        pytest.param(
            "tiny_deepseek", "expert", {"drift_time": 86400, "store": "int8"}, marks=pytest.mark.slow
        ),
    ],
)
def test_losses_are_the_bundles(
    sample: str, granularity: str, choices: dict[str, Any], tmp_path: Path
) -> None:
    hetc.compile(
        SAMPLES / sample / "model.onnx", tmp_path / "bundle", digital_frac=0, granularity=granularity
    )
    bundle, model, windows = load_bundle(tmp_path / "bundle"), load(SAMPLES / sample), heldout(sample)
    expected = token_losses(session_forward(bundle.session(**choices)), windows)
    with apply_plan(model, bundle.plan, **choices):
        actual = model_predict(model)(windows)[0]
    assert abs(actual.mean() - expected.mean()) <= 1e-3
    # Most tokens see next to no code flip; with other draws they would differ as much as the noise.
    assert np.median(np.abs(actual - expected)) < 0.01


LOUD: dict[str, Any] = {
    "output_noise": 0.02,
    "weight_noise": 0.01,
    "weight_noise_form": "pcm-read",
    "ir_drop": 1.0,
    "dac_rounding": "stochastic",
}


@pytest.mark.slow
def test_noise_of_products_is_the_bundles(tmp_path: Path) -> None:
    """On the first tokens: a code that flips gives its vector, and all after it, noise of its own."""
    profile = replace(Profile(tile_rows=40), **LOUD)
    source = SAMPLES / "tiny_moe" / "model.onnx"
    hetc.compile(source, tmp_path / "bundle", digital_frac=0, profile=profile)
    bundle, model = load_bundle(tmp_path / "bundle"), load(SAMPLES / "tiny_moe")
    windows = heldout("tiny_moe")[:, :3]
    expected = token_losses(session_forward(bundle.session(read_seed=3)), windows)
    with apply_plan(model, bundle.plan, read_seed=3):
        actual = model_predict(model)(windows)[0]
    with apply_plan(model, bundle.plan, read_seed=4):
        other = model_predict(model)(windows)[0]
    assert np.median(np.abs(actual - expected)) < 1e-3
    assert np.median(np.abs(other - expected)) > 0.01


def test_exact_mode_is_the_model_and_it_comes_back(tiny_moe: tuple[Bundle, Any]) -> None:
    (bundle, model), windows = tiny_moe, heldout("tiny_moe")[:2]
    clean = logits(model, windows)
    with apply_plan(model, bundle.plan, mode="exact"):
        np.testing.assert_array_equal(logits(model, windows), clean)
        np.testing.assert_allclose(clean, session_forward(bundle.session(mode="exact"))(windows), atol=1e-4)
    with apply_plan(model, bundle.plan):
        assert np.abs(logits(model, windows) - clean).max() > 0.1
    np.testing.assert_array_equal(logits(model, windows), clean)
    assert not any("forward" in vars(module) for module in model.modules())


def test_everything_digital_is_the_model(tiny_moe: tuple[Bundle, Any]) -> None:
    (bundle, model), windows = tiny_moe, heldout("tiny_moe")[:1]
    clean = logits(model, windows)
    with apply_plan(model, bundle.plan, digital_frac=1):
        np.testing.assert_allclose(logits(model, windows), clean, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["gpt_oss", "qwen2_moe"])
def test_families(model_type: str, tmp_path: Path) -> None:
    """Biases, a gate of its own and inputs before outputs; shared experts; everything on crossbars."""
    config = transformers.AutoConfig.for_model(model_type, **SMALL, **FAMILIES[model_type])
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(mean=float(parameter.dim() == 1), std=0.15)
    model.save_pretrained(tmp_path / "checkpoint")
    hetc.compile(
        export(tmp_path / "checkpoint", tmp_path / "exported"),
        tmp_path / "bundle",
        digital_frac=0.25,
        analog=["layers.*.attention", "lm_head", *SHARED[model_type]],
        profile=Profile(tile_rows=20),
    )
    bundle = load_bundle(tmp_path / "bundle")
    assert {unit.kind for unit in bundle.plan.units if unit.target == "analog"} >= {"attention", "lm_head"}
    windows = np.random.default_rng(0).integers(0, 101, (16, 48))
    for mode in ("exact", "noisy"):
        expected = token_losses(session_forward(bundle.session(mode=mode, noise_scale=0.5)), windows)
        with apply_plan(model, bundle.plan, mode=mode, noise_scale=0.5):
            actual = model_predict(model)(windows)[0]
        limits = {"exact": (1e-4, 1e-4), "noisy": (0.02, 0.05)}[mode]
        assert np.median(np.abs(actual - expected)) < limits[0]
        assert abs(actual.mean() - expected.mean()) < limits[1]


@pytest.mark.parametrize("rule", ["std:8", pytest.param("scale:12", marks=pytest.mark.slow)])
def test_static_ranges_and_bounds_are_the_bundles(
    rule: str, tiny_moe: tuple[Bundle, Any], tmp_path: Path
) -> None:
    (bundle, model), windows = tiny_moe, heldout("tiny_moe")[:2]
    plan = with_static_converters(bundle.plan, rule, float(rule.split(":")[1]), input_range=2.0)
    plan.save(tmp_path / "plan.json")
    hetc.compile(SAMPLES / "tiny_moe" / "model.onnx", tmp_path / "bundle", plan=tmp_path / "plan.json")
    expected = token_losses(session_forward(load_bundle(tmp_path / "bundle").session()), windows)
    with apply_plan(model, plan):
        actual = model_predict(model)(windows)[0]
    with apply_plan(model, bundle.plan):
        dynamic = model_predict(model)(windows)[0]
    assert np.median(np.abs(actual - expected)) < 0.01 < np.median(np.abs(actual - dynamic))


@pytest.mark.parametrize("rule", [pytest.param("std:0.5", marks=pytest.mark.slow), "scale:1"])
def test_bounds_stay_those_of_the_compiled_neurons(
    rule: str, tiny_moe: tuple[Bundle, Any], tmp_path: Path
) -> None:
    model, windows, source = tiny_moe[1], heldout("tiny_moe")[:1, :64], SAMPLES / "tiny_moe" / "model.onnx"
    _, dynamic = plan_model(source, granularity="neuron", digital_frac=0.125)
    plan = with_static_converters(dynamic, rule, float(rule.split(":")[1]), input_range=2.0)
    bundle = hetc.compile(source, tmp_path / "bundle", plan=plan)
    expected = token_losses(session_forward(bundle.session(digital_frac=0.6)), windows)
    with apply_plan(model, plan, digital_frac=0.6):
        actual = model_predict(model)(windows)[0]
    with apply_plan(model, replace(at_fraction(plan, 0.6), compiled_frac=None)):  # bounds of its own
        narrower = model_predict(model)(windows)[0]
    assert np.median(np.abs(actual - expected)) < 1e-4 < np.median(np.abs(narrower - expected))


def test_what_is_refused(tiny_moe: tuple[Bundle, Any]) -> None:
    bundle, model = tiny_moe
    plan = bundle.plan

    def fails(
        error: type[Exception], match: str, other: Any = model, made: Any = plan, **choices: Any
    ) -> None:
        with pytest.raises(error, match=match), apply_plan(other, made, **choices):
            pass

    fails(UsageError, "mode 'ideal' is not known", mode="ideal")
    fails(UsageError, "digital fraction 2", digital_frac=2)
    measured = replace(plan, conductances={"folder": "measured", "sha256": "0" * 64})
    fails(UsageError, "runs on measured conductances, which are in its bundle", made=measured)
    fails(InvalidInputError, "is analog, and the model has neither", other=torch.nn.Linear(2, 2))
    unit = next(unit for unit in plan.units if unit.target == "analog")
    narrow = replace(unit, matrices=tuple(replace(matrix, inputs=3) for matrix in unit.matrices))
    other_units = tuple(narrow if one.id == unit.id else one for one in plan.units)
    fails(InvalidInputError, "the plan was made for another model", made=replace(plan, units=other_units))
