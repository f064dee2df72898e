"""Bundles on measured conductances: equal to the bit where they are our own, and exact where they aren't."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from command_line import hetc
from equality import assert_mostly_equal
from models import moe_model, with_static_converters
from safetensors.numpy import load_file, save_file

from hetc.base.errors import InvalidInputError, UsageError
from hetc.bundle.bake import bake_bundle
from hetc.bundle.bundle import Bundle, load_bundle
from hetc.bundle.partition import partition_bundle
from hetc.bundle.verify import verify
from hetc.cli.summary import print_plan
from hetc.compiler.compile import compile, plan_model
from hetc.costing.profile import load_costs
from hetc.evaluation.results import MEASURED, Result, placement_of
from hetc.hardware.noise_models import NOISE_MODELS
from hetc.hardware.profile import Profile
from hetc.model.load import load_model
from hetc.model.weights import read_tensor
from hetc.passes.analysis.analog_matrices import distinct_matrices
from hetc.plan.plan import Plan
from hetc.reporting.panels import panels
from hetc.reporting.write import build_report

PROFILE = Profile(tile_rows=16, tile_columns=20, noise_scale=2.0)
IDS = {"input_ids": np.arange(11)}
UNIT = "layers.0.attention"

Arrays = dict[str, np.ndarray]


def logits(bundle: Bundle, **choices: Any) -> np.ndarray:
    return np.asarray(bundle.session(**choices).run(None, IDS)[0])


def compiled(folder: Path, profile: Profile = PROFILE, **choices: Any) -> Bundle:
    given = {"digital_frac": "0.25", "analog": ["*.attention"], **choices}
    return compile(moe_model(layers=1, hidden=40, inter=24), folder, profile=profile, **given)


def written(bundle: Bundle, folder: Path, **choices: Any) -> Path:
    partition_bundle(bundle, folder, conductances=True, **choices)
    return folder / "conductances"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return compiled(tmp_path_factory.mktemp("own") / "bundle")


@pytest.fixture(scope="module")
def targets(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(bundle, tmp_path_factory.mktemp("own") / "parts")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"scale_mode": "tile"}, marks=pytest.mark.slow),
        pytest.param({"noise": NOISE_MODELS["reram_cmo"]}, marks=pytest.mark.slow),
        {"drift_time": 3600.0},
        pytest.param({"output_noise": 0.02, "ir_drop": 1.0}, marks=pytest.mark.slow),
        {"weight_noise": 0.02, "weight_noise_form": "pcm-read", "dac_rounding": "stochastic"},
        {"bound_management": "iterative", "out_bound": 0.5},
    ],
    ids=str,
)
def test_targets_are_programming_without_noise(tmp_path: Path, changes: dict[str, Any]) -> None:
    own = compiled(tmp_path / "own", replace(PROFILE, **changes))
    folder = written(own, tmp_path / "parts")
    measured = compiled(tmp_path / "measured", replace(PROFILE, **changes), conductances=folder)
    expected = logits(own, noise_scale=0.0, drift_time=0.0, read_seed=5)
    np.testing.assert_array_equal(logits(measured, read_seed=5), expected)
    np.testing.assert_array_equal(logits(measured, mode="converters"), logits(own, mode="converters"))
    assert (logits(own) != expected).any(), "with noise they differ"
    if measured.plan.noisy:
        assert (logits(measured, read_seed=6) != expected).any(), "products are still disturbed"


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_what_a_seed_programs_is_its_baked_bundle(tmp_path: Path, dtype: Any) -> None:
    model = moe_model(layers=1, hidden=40, inter=24, dtype=dtype)
    choices: dict[str, Any] = {"digital_frac": "0.25", "analog": ["*.attention"], "profile": PROFILE}
    own = compile(model, tmp_path / "own", **choices)
    folder = written(own, tmp_path / "parts", seed=3)
    measured = compile(model, tmp_path / "measured", conductances=folder, **choices)
    baked = bake_bundle(own, tmp_path / "baked", seed=3)
    np.testing.assert_array_equal(logits(measured), logits(baked))
    assert_mostly_equal(logits(measured), logits(own, seed=3))
    assert np.abs(logits(measured) - logits(own, seed=4)).max() > 0.01
    before, after = (load_model(one.graph_file).model for one in (baked, measured))
    for clean, held in zip(distinct_matrices(before.graph), distinct_matrices(after.graph), strict=True):
        for one in ("weight", "weight_scale"):
            names = [getattr(matrix, one).name for matrix in (clean, held)]
            np.testing.assert_array_equal(read_tensor(before, names[0]), read_tensor(after, names[1]))


@pytest.mark.parametrize("fraction", [0.3, pytest.param(0.9, marks=pytest.mark.slow)])
def test_digital_neurons_stay_digital(tmp_path: Path, fraction: float) -> None:
    source = moe_model(hidden=40, inter=24)
    small = Profile(tile_rows=4, tile_columns=5)
    _, dynamic = plan_model(source, profile=small, granularity="neuron", digital_frac=fraction)
    plan = with_static_converters(dynamic, "scale:3", 3.0)
    own = compile(source, tmp_path / "own", plan=plan)
    for seed, expected in ((None, logits(own, noise_scale=0.0)), (3, None)):
        folder = written(own, tmp_path / f"parts{seed}", seed=seed)
        measured = compile(source, tmp_path / f"measured{seed}", plan=plan, conductances=folder)
        if expected is None:
            expected = logits(bake_bundle(own, tmp_path / "baked", seed=seed))
        np.testing.assert_array_equal(logits(measured), expected)


def test_a_pair_stands_for_scale_times_its_share_of_the_window(
    bundle: Bundle, targets: Path, tmp_path: Path
) -> None:
    def change(arrays: Arrays) -> None:
        arrays["q_proj.g_plus"][3, 5], arrays["q_proj.g_minus"][3, 5] = 12.5, 5.0

    measured = compiled(tmp_path / "measured", conductances=changed(targets, tmp_path, change))
    before, after = (load_model(one.graph_file).model for one in (bundle, measured))
    matrices = zip(distinct_matrices(before.graph), distinct_matrices(after.graph), strict=True)
    for clean, held in matrices:
        old, new = (read_tensor(m, one.weight.name or "") for m, one in ((before, clean), (after, held)))
        different = np.argwhere(old != new)
        if clean.unit == UNIT and len(different):
            (place,) = different
            where = place[::-1] if clean.transposed else place
            np.testing.assert_array_equal(where, [3, 5])
            assert held.weight_scale is not None
            scale = read_tensor(after, held.weight_scale.name or "")
            assert new[tuple(place)] == pytest.approx(scale[0, 5] * (12.5 - 5.0) / 25)
            return
    pytest.fail("no weight changed")


def changed(folder: Path, tmp_path: Path, change: Callable[[Arrays], None], **metadata: str) -> Path:
    """A copy of the folder in which one unit was measured otherwise."""
    copy = tmp_path / "changed"
    shutil.copytree(folder, copy)
    arrays = load_file(copy / f"{UNIT}.safetensors")
    change(arrays)
    save_file(arrays, copy / f"{UNIT}.safetensors", {"g_max_microsiemens": "25.0", **metadata})
    return copy


def assign(name: str, values: Any) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name] = np.asarray(values(arrays[name]))

    return change


def at(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda old: np.where(np.arange(old.size).reshape(old.shape) == 7, np.float32(value), old)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("q_proj.g_minus"), r"q_proj.g_minus is missing"),
        (assign("q_proj.g_plus", lambda old: old[:-1].copy()), r"of shape \[39, 40\]; .* hold \[40, 40\]"),
        (assign("q_proj.g_plus", lambda old: old.astype(bool)), "q_proj.g_plus is bool"),
        (assign("q_proj.g_plus", at(np.nan)), "q_proj.g_plus holds nan; conductances are 0 uS or more"),
        (assign("q_proj.g_minus", at(-0.5)), "q_proj.g_minus holds -0.5; conductances"),
        (assign("q_proj.g_minus", at(np.inf)), "holds inf"),
        (
            assign("q_proj.weight_scale", lambda old: 2 * old),
            "weight_scale is not this plan's; .* another model",
        ),
        (assign("q_proj.rows", lambda old: old[::-1].copy()), "rows is not this plan's"),
    ],
)
def test_bad_files_are_one_error_and_leave_nothing(
    targets: Path, tmp_path: Path, change: Callable[[Arrays], None], message: str
) -> None:
    folder = changed(targets, tmp_path, change)
    with pytest.raises(InvalidInputError, match=message) as error:
        compiled(tmp_path / "measured", conductances=folder)
    assert f"{UNIT}.safetensors" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["changed"]


def test_small_matrices_are_checked_as_well(tmp_path: Path) -> None:
    model = moe_model(layers=1, hidden=8, inter=4)  # so small that the model holds them itself
    own = compile(model, tmp_path / "own", digital_frac=1, analog=["layers.0.experts.0"])
    folder = written(own, tmp_path / "parts")
    (folder / "layers.0.experts.0.safetensors").write_bytes(b"none")
    with pytest.raises(InvalidInputError, match="is no safetensors file"):
        compile(model, tmp_path / "m", digital_frac=1, analog=["layers.0.experts.0"], conductances=folder)


def test_files_need_to_be_there(targets: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        compiled(tmp_path / "measured", conductances=tmp_path / "nowhere")
    folder = changed(targets, tmp_path, lambda arrays: None, g_max_microsiemens="many")
    with pytest.raises(InvalidInputError, match="g_max_microsiemens is 'many'"):
        compiled(tmp_path / "measured", conductances=folder)
    (folder / f"{UNIT}.safetensors").write_bytes(b"none")
    with pytest.raises(InvalidInputError, match="is no safetensors file"):
        compiled(tmp_path / "measured", conductances=folder)
    (folder / f"{UNIT}.safetensors").unlink()
    with pytest.raises(InvalidInputError, match=f"'{UNIT}' has no .* --digital {UNIT}"):
        compiled(tmp_path / "measured", conductances=folder)
    compiled(tmp_path / "measured", conductances=folder, analog=())
    with pytest.raises(UsageError, match="no analog unit"):
        compiled(tmp_path / "digital", conductances=folder, analog=(), digital_frac=1)


def test_g_max_is_the_file_s_or_the_noise_model_s(targets: Path, bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(targets, folder)
    for path in folder.glob("*.safetensors"):
        kept = {name: one for name, one in load_file(path).items() if name.endswith(("g_plus", "g_minus"))}
        save_file(kept, path)  # all that was measured
    measured = compiled(tmp_path / "measured", conductances=folder)
    np.testing.assert_array_equal(logits(measured), logits(bundle, noise_scale=0.0))
    unknown = replace(PROFILE, noise=replace(PROFILE.noise, name="lab"))
    with pytest.raises(InvalidInputError, match="must say g_max_microsiemens"):
        compiled(tmp_path / "unknown", unknown, conductances=folder)


def test_the_plan_says_which_and_can_be_followed(targets: Path, tmp_path: Path) -> None:
    model = moe_model(layers=1, hidden=40, inter=24)
    folder = changed(targets, tmp_path, assign("q_proj.g_plus", at(2.0)))
    _, plan = plan_model(model, profile=PROFILE, digital_frac="0.25", analog=["*.attention"])
    predicted = replace(plan, predicted_loss=0.5)
    first = compile(model, tmp_path / "first", plan=predicted, conductances=folder)
    assert first.plan.predicted_loss is None, "nothing is programmed"
    assert first.plan.conductances is not None and first.plan.conductances["folder"] == str(folder)
    assert Plan.load(first.path / "plan.json").conductances == first.plan.conductances
    again = compile(model, tmp_path / "again", plan=first.path / "plan.json")
    assert (again.path / "plan.json").read_bytes() == (first.path / "plan.json").read_bytes()
    np.testing.assert_array_equal(logits(again), logits(first))
    with pytest.raises(InvalidInputError, match="not those that the plan was made with"):
        compile(model, tmp_path / "other", plan=first.plan, conductances=targets)


def test_nothing_is_programmed(targets: Path, tmp_path: Path) -> None:
    measured = load_bundle(compiled(tmp_path / "measured", conductances=targets).path)
    assert not measured.plan.noisy
    choices: list[dict[str, Any]] = [{"seed": 1}, {"noise_scale": 1.0}, {"drift_time": 1.0}]
    for choice in (*choices, {"digital_frac": "1"}, {"store": "int8"}):
        with pytest.raises(UsageError, match=f"measured conductances: hetc.{next(iter(choice))} cannot"):
            measured.session(**choice)
    with pytest.raises(UsageError, match="nothing is left to bake"):
        bake_bundle(measured, tmp_path / "baked")
    with pytest.raises(UsageError, match="its weights are not targets"):
        written(measured, tmp_path / "parts")
    with pytest.raises(UsageError, match="no clean weights to compare with"):
        measured.measure_noise()
    assert {check.name: check.status for check in verify(measured)} == {
        "files": "ok",
        "exact mode = source": "not run",
        "kernels": "ok",
        "outputs are finite": "ok",
        "noise": "not run",
    }
    assert len(partition_bundle(measured, tmp_path / "cut")) > 2
    # Without disturbance no library is needed.
    plain = onnxruntime.InferenceSession(
        str(measured.path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    assert_mostly_equal(plain.run(None, IDS)[0], logits(measured))


def test_commands(tmp_path: Path) -> None:
    ir.save(moe_model(layers=1), tmp_path / "model.onnx")
    placed = (tmp_path / "model.onnx", "--digital-frac", 0.5, "--profile", "hermes-256")
    assert hetc("compile", *placed, "-o", tmp_path / "own").returncode == 0
    seeded = ("--conductances", "--seed", 5)
    assert hetc("partition", tmp_path / "own", "-o", tmp_path / "parts", *seeded).returncode == 0
    given = ("--conductances", tmp_path / "parts" / "conductances")
    done = hetc("compile", *placed, *given, "-o", tmp_path / "measured")
    assert done.returncode == 0, done.stderr
    assert "noise       measured conductances of " in done.stdout
    shown = json.loads(hetc("compile", *placed, *given, "--dry-run", "--json").stdout)
    assert shown["conductances"] == load_bundle(tmp_path / "measured").plan.conductances
    refused = hetc("partition", tmp_path / "own", "-o", tmp_path / "p2", "--seed", 5)
    assert refused.returncode == 2 and "--seed says how to write --conductances" in refused.stderr
    bad = hetc("partition", tmp_path / "own", "-o", tmp_path / "p2", "--conductances", "--seed", -1)
    assert bad.returncode == 2 and not (tmp_path / "p2").exists()


def test_what_says_a_noise_says_that_they_were_measured(
    tmp_path: Path, bundle: Bundle, targets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = compiled(tmp_path / "measured", conductances=targets)
    words = f"measured conductances of {targets}, sha256 "
    assert bundle.plan.programming == "pcm, c = 2, t = 0 s"
    assert measured.plan.programming.startswith(words)
    print_plan(measured.plan)
    page, _ = build_report(measured.plan, load_costs(), title="measured")
    readme = (measured.path / "README.md").read_text("utf-8")
    shown = " ".join(capsys.readouterr().out.split())
    for text in (shown, page, readme):
        assert words.split(" of ")[0] in text and "pcm, c =" not in text
    assert "pcm, c = 2" in (bundle.path / "README.md").read_text("utf-8")
    assert placement_of(measured.plan)["noise"] == MEASURED
    (panel,) = panels([Result(0.25, "maxnn", 0, 2.0, "heldout", "loss", 3.0, MEASURED)], [])
    assert panel.title == "heldout, loss (measured conductances)"
