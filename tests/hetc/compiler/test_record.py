"""Recording: the kernels count what NumPy counts, and compile turns it into ranges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from command_line import SAMPLE, hetc
from models import moe_model

from hetc.base.errors import InvalidInputError, UsageError
from hetc.compiler.compile import compile
from hetc.compiler.placement import Placement, make_plan
from hetc.compiler.recording import calibrate
from hetc.hardware.profile import Profile
from hetc.model.load import load_model
from hetc.model.tokens import token_windows
from hetc.passes.analysis.set_ranges import FEWEST_ROWS, set_ranges
from hetc.plan.calibration import Calibration, Statistics
from hetc.runtimes.onnxruntime.session import open_session

SMALL = Profile(tile_rows=5)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that takes `input_ids` `[batch, sequence]`."""
    model = moe_model(layers=1, experts=3, hidden=8, inter=6)
    graph = model.graph
    ids = graph.inputs[0]
    ids.shape = ir.Shape(["batch", "sequence"])
    flat = ir.val("flat", const_value=ir.tensor([-1], name="flat"))
    graph.register_initializer(flat)
    users = list(ids.uses())
    reshape = ir.node("Reshape", [ids, flat], name="flatten")
    for user, index in users:
        user.replace_input_with(index, reshape.outputs[0])
    graph.insert_before(graph[0], reshape)
    ir.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_kernels_count_what_enters(model: Path, tmp_path: Path) -> None:
    """Against what Split gives each expert, taken out of the untouched model."""
    tokens = np.arange(11).reshape(1, -1)
    exposed = ir.load(model)
    split = next(node for node in exposed.graph if node.op_type == "Split")
    for output in split.outputs:
        output.shape = ir.Shape([None, 8])
        exposed.graph.outputs.append(output)
    ir.save(exposed, tmp_path / "exposed.onnx")
    vectors = open_session(tmp_path / "exposed.onnx", library=False).run(None, {"input_ids": tokens})[1:]

    calibration = _record(model, tokens)
    assert len(vectors) == 3
    for expert, x in enumerate(vectors):
        slices = calibration.statistics[f"layers.0.experts.{expert}", "in"]
        assert [one.elements for one in slices] == [x[:, :4].size, x[:, 4:].size]
        for one, part in zip(slices, (x[:, :4], x[:, 4:]), strict=True):
            bins, counts = np.unique(np.abs(part).view(np.uint32) >> 16, return_counts=True)
            assert dict(one.bins) == dict(zip(bins.tolist(), counts.tolist(), strict=True))
            assert one.deviation == pytest.approx(part.std(), rel=1e-4)
        assert calibration.routing[f"layers.0.experts.{expert}"].tokens == len(x)


def _record(model: Path, tokens: np.ndarray) -> Calibration:
    return calibrate(model, tokens.reshape(1, -1), profile=SMALL)


def test_parts_merge_to_the_whole() -> None:
    windows = token_windows(SAMPLE / "calibration.npz", 64, 6)
    whole = calibrate(SAMPLE / "model.onnx", windows, batch=2)
    parts = calibrate(SAMPLE / "model.onnx", windows[:2])
    parts.merge(calibrate(SAMPLE / "model.onnx", windows[2:], batch=3))
    assert parts.tokens == whole.tokens == windows.size
    assert {unit: use.tokens for unit, use in parts.routing.items()} == {
        unit: use.tokens for unit, use in whole.routing.items()
    }
    assert whole.statistics
    assert parts.statistics.keys() == whole.statistics.keys()
    for site, slices in whole.statistics.items():
        for one, other in zip(slices, parts.statistics[site], strict=True):
            assert one.rows == other.rows
            # ONNX Runtime's own products depend on the batch in the last bit.
            assert one.deviation == pytest.approx(other.deviation, rel=1e-3)


def test_rare_experts_take_the_layer_s_range() -> None:
    loaded = load_model(moe_model(layers=1, experts=3))
    plan = make_plan(loaded, Placement(digital_frac=0), Profile())
    rows = {0: FEWEST_ROWS, 1: FEWEST_ROWS - 1, 2: 0}
    calibration = Calibration("", 512)
    for expert, count in rows.items():
        for site in ("in", "mid") if count else ():
            bins = {0x3F80 + expert: 8 * count}  # |x| about 1 + expert / 128
            one = Statistics(count, 8 * count, 0, 8 * count << 24)
            one.bins.update(bins)
            calibration.statistics[f"layers.0.experts.{expert}", site] = [one]
    units = {unit.id: unit for unit in set_ranges(plan.units, calibration, "max", Profile())}
    found = [units[f"layers.0.experts.{expert}"] for expert in rows]
    assert [unit.ranges_from for unit in found] == ["own", "layer", "layer"]
    assert found[0].input_ranges["in"][0] < found[1].input_ranges["in"][0] == found[2].input_ranges["mid"][0]
    assert units["layers.0.attention"].ranges_from == "dynamic"


def test_bounds_follow_what_was_seen(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hetc.passes.analysis.set_ranges.FEWEST_ROWS", 1)
    loaded, calibration = load_model(model), _record(model, np.arange(11))
    plan = make_plan(loaded, Placement(digital_frac=0), SMALL)
    compared = 0
    for unit in set_ranges(plan.units, calibration, "max", SMALL, "std:3"):
        for site, bounds in unit.adc_bounds.items() if unit.ranges_from == "own" else ():
            seen = calibration.statistics[unit.id, site]
            ranges = unit.input_ranges[site]
            expected = [3 * one.root_mean_square / r for one, r in zip(seen, ranges, strict=True)]
            np.testing.assert_allclose(bounds, expected)
            compared += 1
    assert compared >= 4
    scaled = set_ranges(plan.units, calibration, "max", SMALL, "scale:3")
    assert {bound for unit in scaled for bounds in unit.adc_bounds.values() for bound in bounds} == {3.0}
    assert {bool(unit.adc_bounds) == (unit.target == "analog") for unit in scaled} == {True}
    with pytest.raises(UsageError, match="no ADC"):
        set_ranges(plan.units, calibration, "max", Profile(tile_rows=5, adc_bits=0), "std:3")
    with pytest.raises(UsageError, match="ADC bounds need a calibration"):
        compile(model, "unused", adc_bound_rule="std:3")


def test_another_tile_split_is_refused(model: Path) -> None:
    calibration = _record(model, np.arange(11))
    with pytest.raises(InvalidInputError, match="tiles of 5 rows"):
        compile(model, "unused", calibration=calibration)


def test_another_model_is_refused(model: Path) -> None:
    calibration = _record(model, np.arange(11))
    calibration.sha256 = "0" * 64
    with pytest.raises(InvalidInputError, match="another model"):
        compile(model, "unused", calibration=calibration, profile=SMALL)


def test_kernels_and_bodies_agree_with_static_ranges(model: Path, tmp_path: Path) -> None:
    calibration = _record(model, np.arange(11))
    bundle = compile(
        model,
        tmp_path / "bundle",
        digital_frac=0,
        analog=["layers.*.attention", "lm_head"],
        calibration=calibration,
        range_rule="std:2",
        profile=SMALL,
    )
    feeds = {"input_ids": np.arange(11).reshape(1, -1)}
    dynamic = compile(model, tmp_path / "dynamic", digital_frac=0, profile=SMALL)
    kernels = bundle.session(mode="converters").run(None, feeds)[0]
    bodies = open_session(bundle.path / "model.portable.onnx", library=False).run(None, feeds)[0]
    np.testing.assert_allclose(kernels, bodies, atol=1e-5)
    assert not np.allclose(kernels, dynamic.session(mode="converters").run(None, feeds)[0])


def test_command_line(tmp_path: Path) -> None:
    model, data, output = SAMPLE / "model.onnx", tmp_path / "few.npz", tmp_path / "c.safetensors"
    np.savez(data, tokens=np.load(SAMPLE / "calibration.npz")["tokens"][:2048])
    result = hetc("calibrate", model, "--data", data, "-o", output)
    assert result.returncode == 0, result.stderr
    assert "2,048 tokens" in result.stderr
    assert hetc("calibrate", model, "--data", data, "-o", output).returncode == 2
    doubled = hetc("calibrate", model, "--merge", output, "--merge", output, "-o", tmp_path / "twice")
    assert "4,096 tokens" in doubled.stderr
    bound = ("--adc-bound", "std:12")
    compiled = hetc("compile", model, "--calibration", output, *bound, "-o", tmp_path / "bundle")
    assert compiled.returncode == 0, compiled.stderr
    assert "bound std:12, range quantile:0.99995" in compiled.stdout
    explained = hetc("explain", tmp_path / "bundle", "layers.1.experts.3").stdout
    assert "of its own recording" in explained
    assert "x norm per K-slice, std:12" in explained
    units = json.loads((tmp_path / "bundle" / "plan.json").read_text())["units"]
    analog = [unit for unit in units if unit["target"] == "analog"]
    assert analog
    assert {unit["ranges_from"] for unit in analog} <= {"own", "layer"}
    assert hetc("verify", tmp_path / "bundle", "--source", model).returncode == 0


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--data", "nowhere.npz"], 2, "nowhere.npz"),
        ([], 2, "nothing to calibrate"),
        (["--merge", str(SAMPLE / "config.json")], 3, "no safetensors file"),
    ],
)
def test_bad_data(tmp_path: Path, options: list[str], code: int, message: str) -> None:
    result = hetc("calibrate", SAMPLE / "model.onnx", *options, "-o", tmp_path / "c.safetensors")
    assert (result.returncode, message in result.stderr) == (code, True), result.stderr
    assert list(tmp_path.iterdir()) == []


def test_data_that_cannot_be_tokens(tmp_path: Path) -> None:
    np.savez(tmp_path / "floats.npz", tokens=np.ones(300))
    with pytest.raises(InvalidInputError, match="not integers"):
        token_windows(tmp_path / "floats.npz", 10)
    np.savez(tmp_path / "few.npz", tokens=np.arange(9))
    with pytest.raises(UsageError, match="fewer than one window"):
        token_windows(tmp_path / "few.npz", 10)
