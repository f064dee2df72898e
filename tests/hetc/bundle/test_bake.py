"""A baked bundle computes what the noisy session of its seed computes, without the library."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from command_line import SAMPLE, hetc
from equality import assert_mostly_equal, assert_programmed_equal
from models import moe_model, with_static_converters
from onnx.reference import ReferenceEvaluator

from hetc.base.errors import UsageError
from hetc.bundle.bake import bake_bundle
from hetc.bundle.bundle import Bundle, load_bundle
from hetc.compiler.compile import compile
from hetc.compiler.placement import Placement, make_plan
from hetc.hardware.noise_models import NOISE_MODELS
from hetc.hardware.profile import Profile
from hetc.model.load import load_model
from hetc.model.weights import read_tensor
from hetc.passes.analysis.analog_matrices import analog_matrices, analog_nodes
from hetc.runtimes.onnxruntime.session import open_session
from hetc.runtimes.reference import Crossbar, program, split

PROFILE = Profile(tile_rows=16, noise_scale=2.0)
IDS = {"input_ids": np.arange(11)}
SEED = 7


@pytest.fixture(scope="module", params=[np.float32, ml_dtypes.bfloat16])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    model = moe_model(hidden=40, inter=24, dtype=request.param)
    folder = tmp_path_factory.mktemp("bundles")
    return compile(model, folder / "noisy", digital_frac="0.25", analog=["*.attention"], profile=PROFILE)


@pytest.fixture(scope="module")
def baked(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bake_bundle(bundle, tmp_path_factory.mktemp("baked") / "baked", seed=SEED, threads=1)


def without_library(model: Path) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(str(model), options, ["CPUExecutionProvider"])
    return session.run(None, IDS)[0]


def test_weights_are_the_programmed_ones_and_scales_the_clean_ones(bundle: Bundle, baked: Bundle) -> None:
    clean, noisy = load_model(bundle.graph_file).model, load_model(baked.graph_file).model
    crossbar = Crossbar(
        "noisy",
        tile_rows=16,
        noise_form=PROFILE.noise.form,
        noise_sigma=PROFILE.noise.sigma,
        noise_scale=2.0,
        seed=SEED,
        store="bfloat16",
    )
    pairs = zip(analog_nodes(clean.graph), analog_nodes(noisy.graph), strict=True)
    compared = 0
    for before, after in pairs:
        for source, result in zip(analog_matrices(before), analog_matrices(after), strict=True):
            w = read_tensor(clean, source.weight.name or "")
            expected = program(w, crossbar, source.stream, transpose_weight=source.transposed)
            actual = read_tensor(noisy, result.weight.name or "")
            assert actual.dtype == np.float32
            rows = split(len(expected), 16)
            actual = actual.T if result.transposed else actual
            assert_programmed_equal(actual, expected, "bfloat16", rows=rows)
            assert np.abs(actual - (w.T if source.transposed else w).astype(np.float32)).max() > 1e-3
            assert result.weight_scale is not None
            largest = [np.abs((w.T if source.transposed else w)[part]).max(axis=0) for part in rows]
            scale = read_tensor(noisy, result.weight_scale.name or "")
            np.testing.assert_array_equal(scale, np.stack(largest).astype(np.float32))
            compared += 1
    assert compared == 2 * (3 * 3 + 1)


def test_equals_the_noisy_session(bundle: Bundle, baked: Bundle) -> None:
    noisy = bundle.session(mode="noisy", seed=SEED).run(None, IDS)[0]
    other = bundle.session(mode="noisy", seed=SEED + 1).run(None, IDS)[0]
    assert np.abs(noisy - other).max() > 0.05 * np.abs(noisy).max()
    assert_mostly_equal(baked.session().run(None, IDS)[0], noisy)
    assert_mostly_equal(without_library(baked.path / "model.onnx"), noisy)
    evaluated = ReferenceEvaluator(str(baked.path / "model.onnx")).run(None, IDS)
    assert isinstance(evaluated, list)
    assert_mostly_equal(evaluated[0], noisy)


def test_model_needs_nothing_of_hetc(baked: Bundle) -> None:
    model = onnx.load(baked.path / "model.onnx", load_external_data=False)
    onnx.checker.check_model(str(baked.path / "model.onnx"))
    assert model.ir_version <= 13
    bodies = {(function.domain, function.name) for function in model.functions}
    assert {(n.domain, n.op_type) for n in model.graph.node if n.domain} <= bodies
    names = {path.name for path in baked.path.rglob("*")}
    assert names == {"README.md", "model.onnx", "plan.json", "manifest.json", "weights", "baked.bin"}
    analog = [node for node in model.graph.node if node.op_type.startswith("Analog")]
    assert len(analog) == 2 * (3 + 1)
    for node in analog:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert (attributes["mode"], attributes["noise_form"]) == (b"converters", b"none")


def test_clean_weights_of_analog_units_are_gone(bundle: Bundle, baked: Bundle) -> None:
    initializers = load_model(baked.graph_file).model.graph.initializers
    seen = set()
    for unit in bundle.plan.units:
        for matrix in unit.matrices:
            assert (matrix.weight in initializers) == (unit.target == "digital")
            seen.add(unit.target)
    assert seen == {"analog", "digital"}


@pytest.mark.parametrize(
    "changes",
    [
        {"drift_time": 1e6, "drift_compensation": "global"},
        {"drift_time": 1e6, "drift_compensation": "column"},
        {"drift_time": 1e6, "drift_compensation": "column", "adc_bits": 0},
        {"flicker_noise": 3.0, "scale_mode": "tile", "tile_columns": 10},
        {"noise": NOISE_MODELS["gaussian"], "dac_bits": 0},
        {"bound_management": "iterative", "out_bound": 0.5},
    ],
    ids=str,
)
def test_whatever_the_crossbars_hold_is_baked(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = moe_model(layers=1, hidden=40, inter=24)
    profile = replace(PROFILE, **changes)
    noisy = compile(model, tmp_path / "noisy", digital_frac=0, analog=["*.attention"], profile=profile)
    baked = bake_bundle(noisy, tmp_path / "baked", seed=SEED)
    expected = noisy.session(seed=SEED).run(None, IDS)[0]
    assert np.abs(noisy.session(mode="converters").run(None, IDS)[0] - expected).max() > 1e-3
    assert_mostly_equal(without_library(baked.path / "model.onnx"), expected)


@pytest.mark.parametrize(("rule", "bound"), [("scale:2", 2.0), ("std:2", 0.8)])
def test_static_ranges_and_bounds_are_kept(tmp_path: Path, rule: str, bound: float) -> None:
    profile = replace(PROFILE, drift_time=1e6, drift_compensation="column")
    model = moe_model(hidden=40, inter=24)
    plan = make_plan(load_model(model), Placement(digital_frac=0, analog=("*.attention",)), profile)
    dynamic = compile(model, tmp_path / "dynamic", plan=plan)
    noisy = compile(model, tmp_path / "static", plan=with_static_converters(plan, rule, bound))
    baked = bake_bundle(noisy, tmp_path / "baked", seed=SEED)
    expected = noisy.session(seed=SEED).run(None, IDS)[0]
    assert np.abs(dynamic.session(seed=SEED).run(None, IDS)[0] - expected).max() > 1e-3
    assert_mostly_equal(baked.session().run(None, IDS)[0], expected)
    assert_mostly_equal(without_library(baked.path / "model.onnx"), expected)


@pytest.mark.parametrize(
    "changes", [{"output_noise": 0.01}, {"ir_drop": 1.0}, {"dac_rounding": "stochastic"}], ids=str
)
def test_noise_of_every_product_is_lost_on_request_only(tmp_path: Path, changes: dict[str, Any]) -> None:
    noisy = compile(moe_model(layers=1), tmp_path / "noisy", profile=replace(PROFILE, **changes))
    with pytest.raises(UsageError, match="noise of every product, which no weight can hold"):
        bake_bundle(noisy, tmp_path / "baked")
    plain = compile(moe_model(layers=1), tmp_path / "plain", profile=PROFILE)
    baked = bake_bundle(noisy, tmp_path / "baked", seed=1, approximate=True)
    assert_mostly_equal(baked.session().run(None, IDS)[0], plain.session(seed=1).run(None, IDS)[0])


def test_seed_scale_and_time_are_recorded(bundle: Bundle, tmp_path: Path) -> None:
    baked = bake_bundle(bundle, tmp_path / "baked", seed=3, noise_scale=0.5, drift_time=60.0, store="int8")
    assert baked.baked == {"seed": 3, "noise_scale": 0.5, "drift_time": 60.0, "store": "int8"}
    profile = baked.plan.profile
    assert (baked.plan.seed, profile.noise_scale, profile.drift_time) == (3, 0.5, 60.0)
    assert load_bundle(tmp_path / "baked") == baked


def test_default_is_what_was_compiled(bundle: Bundle, tmp_path: Path) -> None:
    baked = bake_bundle(bundle, tmp_path / "baked")
    assert baked.baked is not None
    assert (baked.baked["seed"], baked.baked["noise_scale"]) == (0, 2.0)
    assert_mostly_equal(baked.session().run(None, IDS)[0], bundle.session().run(None, IDS)[0])


def test_a_baked_bundle_is_not_baked_again(baked: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="baked already"):
        bake_bundle(baked, tmp_path / "again")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "choice", [{"mode": "exact"}, {"seed": 1}, {"digital_frac": "1"}, {"noise_scale": 1.0}]
)
def test_a_baked_bundle_leaves_no_choice(baked: Bundle, choice: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="its noise is in its weights"):
        baked.session(**choice)  # type: ignore[arg-type]


@pytest.mark.parametrize("choice", [{"seed": -1}, {"noise_scale": -1.0}, {"store": "float8"}])
def test_bad_choices_leave_nothing(bundle: Bundle, tmp_path: Path, choice: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="not allowed"):
        bake_bundle(bundle, tmp_path / "baked", **choice)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_without_noise_there_is_nothing_to_bake(tmp_path: Path) -> None:
    digital = compile(moe_model(), tmp_path / "digital", digital_frac=1)
    with pytest.raises(UsageError, match="no analog unit with noise"):
        bake_bundle(digital, tmp_path / "baked")


def test_command(tmp_path: Path) -> None:
    compiled = hetc("compile", SAMPLE / "model.onnx", "--digital-frac", "7/8", "-o", tmp_path / "noisy")
    assert compiled.returncode == 0, compiled.stderr
    result = hetc("bake", tmp_path / "noisy", "--seed", 5, "-o", tmp_path / "baked")
    assert result.returncode == 0, result.stderr
    assert "seed 5, c = 1.0" in result.stderr
    assert json.loads((tmp_path / "baked/manifest.json").read_text())["baked"]["seed"] == 5
    genai = json.loads((tmp_path / "baked/genai_config.json").read_text())
    assert "custom_ops_library" not in genai["model"]["decoder"]["session_options"]
    open_session(tmp_path / "baked/model.onnx", library=False)
    prompt = ("--prompt", "import", "--max-new-tokens", 8)
    noisy = hetc("run", tmp_path / "noisy", *prompt, "--seed", 5)
    assert hetc("run", tmp_path / "baked", *prompt).stdout == noisy.stdout
    again = hetc("bake", tmp_path / "baked", "-o", tmp_path / "twice")
    assert again.returncode == 2
    assert "baked already" in again.stderr
