"""The parts of a bundle, run in order, equal the whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from command_line import SAMPLE, hetc
from models import moe_model, with_static_converters
from partition_runs import open_plain, run_parts
from safetensors.numpy import load_file

from hetc.base.errors import InvalidInputError, UsageError
from hetc.bundle.bake import bake_bundle
from hetc.bundle.bundle import Bundle
from hetc.bundle.files import PARTITIONS
from hetc.bundle.partition import partition_bundle
from hetc.compiler.compile import compile
from hetc.compiler.placement import Placement, make_plan
from hetc.hardware.profile import Profile
from hetc.model.inputs import first_step
from hetc.model.load import load_model
from hetc.plan.plan import Partition
from hetc.runtimes.reference import split

IDS = {"input_ids": np.arange(11)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles")
    model = moe_model(hidden=40, inter=48, vocabulary=64)
    return compile(model, folder / "whole", digital_frac="0.25", analog=["layers.1.attention", "lm_head"])


@pytest.mark.parametrize("per_expert", [False, True])
def test_parts_in_order_equal_the_whole(bundle: Bundle, tmp_path: Path, per_expert: bool) -> None:
    partition_bundle(bundle, tmp_path / "parts", per_expert=per_expert)
    whole = open_plain(bundle.path / "model.onnx").run(None, IDS)
    parts = run_parts(tmp_path / "parts", IDS)
    np.testing.assert_array_equal(parts[0], whole[0])


def test_static_ranges_and_bounds_stay(tmp_path: Path) -> None:
    model = moe_model(layers=1, hidden=40, inter=48)
    plan = make_plan(load_model(model), Placement(digital_frac=0, analog=("lm_head",)), Profile(tile_rows=16))
    bundle = compile(model, tmp_path / "whole", plan=with_static_converters(plan, "std:4", 0.5))
    partition_bundle(bundle, tmp_path / "parts", conductances=True)
    whole = open_plain(bundle.path / "model.onnx").run(None, IDS)
    np.testing.assert_array_equal(run_parts(tmp_path / "parts", IDS)[0], whole[0])
    head = load_file(tmp_path / "parts" / "conductances" / "lm_head.safetensors")
    w = load_model(model).model.graph.initializers["lm_head.weight"].const_value.numpy().T
    norms = [np.linalg.norm(w[part], axis=0) for part in split(len(w), 16)]
    np.testing.assert_allclose(head["lm_head.adc_bound"], 0.5 * np.stack(norms), rtol=1e-6)
    np.testing.assert_array_equal(head["lm_head.input_range"], np.full(3, 0.7, np.float32))


def test_sample_with_its_cache(tmp_path: Path) -> None:
    bundle = compile(SAMPLE / "model.onnx", tmp_path / "whole", digital_frac="0.5", analog=["*.attention"])
    partition_bundle(bundle, tmp_path / "parts")
    session = open_plain(bundle.graph_file)  # model.onnx adds up digital products in another order
    feeds = first_step(session, np.arange(24).reshape(2, 12))
    parts = run_parts(tmp_path / "parts", feeds)
    assert len(parts) > 1
    for part, whole in zip(parts, session.run(None, feeds), strict=True):
        np.testing.assert_array_equal(part, whole)


def test_parts_are_the_partitions_of_the_plan(bundle: Bundle, tmp_path: Path) -> None:
    parts = partition_bundle(bundle, tmp_path / "parts")
    assert parts == bundle.plan.partitions
    described = json.loads((tmp_path / "parts" / PARTITIONS).read_text())["partitions"]
    files = set()
    for part, entry in zip(parts, described, strict=True):
        files |= {entry.pop("model"), entry.pop("weights")}
        assert Partition(**{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}) == part
    found = {path.name for path in (tmp_path / "parts").iterdir()}
    assert found == files - {None} | {PARTITIONS}


def test_each_part_holds_one_target_and_its_own_weights(bundle: Bundle, tmp_path: Path) -> None:
    partition_bundle(bundle, tmp_path / "parts")
    weights = []
    for part in json.loads((tmp_path / "parts" / PARTITIONS).read_text())["partitions"]:
        model = onnx.load(tmp_path / "parts" / part["model"], load_external_data=False)
        onnx.checker.check_model(str(tmp_path / "parts" / part["model"]))
        operators = {node.op_type for node in model.graph.node}
        analog = {"AnalogExpert", "AnalogMatMul", "RequireLibrary"}
        assert operators <= analog if part["target"] == "analog" else operators.isdisjoint(analog)
        locations = {
            entry.value
            for tensor in model.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        assert locations == ({part["weights"]} if part["weights"] else set())
        weights += [tensor.name for tensor in model.graph.initializer if tensor.name.endswith(".weight")]
    initializers = load_model(bundle.graph_file).model.graph.initializers
    assert sorted(weights) == sorted(name for name in initializers if name.endswith(".weight"))


def test_per_expert_gives_each_analog_expert_a_model(bundle: Bundle, tmp_path: Path) -> None:
    parts = partition_bundle(bundle, tmp_path / "parts", per_expert=True)
    analog = {unit.id for unit in bundle.plan.units if unit.kind == "expert" and unit.target == "analog"}
    assert analog
    own = [part.units for part in parts if part.target == "analog" and part.units[0] in analog]
    assert sorted(own) == sorted((unit,) for unit in analog)
    assert all(part.nodes == 1 for part in parts if analog & set(part.units))


def test_noisy_analog_parts_need_the_library(bundle: Bundle, tmp_path: Path) -> None:
    parts = partition_bundle(bundle, tmp_path / "parts")
    assert {part.target for part in parts} == {"analog", "digital"}
    for part in parts:
        model = tmp_path / "parts" / f"{part.index:04d}-{part.target}.onnx"
        if part.target == "analog":
            with pytest.raises(Exception, match="RequireLibrary"):
                open_plain(model, library=False)
        else:
            open_plain(model, library=False)


def test_parts_of_a_baked_bundle_run_anywhere(bundle: Bundle, tmp_path: Path) -> None:
    baked = bake_bundle(bundle, tmp_path / "baked", seed=1)
    partition_bundle(baked, tmp_path / "parts")
    whole = open_plain(baked.path / "model.onnx", library=False).run(None, IDS)
    np.testing.assert_array_equal(run_parts(tmp_path / "parts", IDS, library=False)[0], whole[0])
    assert json.loads((tmp_path / "parts" / PARTITIONS).read_text())["baked"]["seed"] == 1


@pytest.fixture
def contributed(tmp_path: Path) -> Bundle:
    """One of ONNX Runtime's own operators stands between two partitions."""
    model = moe_model(layers=1, vocabulary=64)
    head = next(node for node in model.graph if node.outputs[0].name == "logits")
    twice = ir.node("QuickGelu", [head.inputs[0]], domain="com.microsoft")
    twice.outputs[0].name = "doubled"
    model.graph.insert_before(head, twice)
    model.graph.opset_imports["com.microsoft"] = 1
    head.replace_input_with(0, twice.outputs[0])
    return compile(model, tmp_path / "whole", analog=["lm_head"])


def test_types_behind_contributed_operators_are_known(contributed: Bundle, tmp_path: Path) -> None:
    partition_bundle(contributed, tmp_path / "parts")
    parts = (tmp_path / "parts").rglob("*.onnx")
    taken = [value for part in parts for value in onnx.load(part, load_external_data=False).graph.input]
    assert onnx.TensorProto.FLOAT in {
        value.type.tensor_type.elem_type for value in taken if value.name == "doubled"
    }


def test_a_tensor_without_a_type_is_named(
    contributed: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of some operators nobody knows what they put out."""
    if onnx.defs.has("QuickGelu", "com.microsoft"):
        onnx.defs.deregister_schema("QuickGelu", 1, "com.microsoft")
    monkeypatch.setattr("hetc.model.checks.register_contributed", lambda operators: None)
    with pytest.raises(InvalidInputError, match="'doubled' between partitions has no known type"):
        partition_bundle(contributed, tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


def test_nodes_without_a_stamp_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    copied = compile(load_model(SAMPLE / "model.onnx").model, tmp_path / "whole")
    proto = onnx.load(copied.graph_file, load_external_data=False)
    for entry in proto.graph.node[3].metadata_props:
        entry.key = entry.key.replace("hetc.partition", "hetc.portition")
    stripped = proto.SerializeToString()
    copied.graph_file.write_bytes(stripped)
    with pytest.raises(InvalidInputError, match="no partition in its metadata"):
        partition_bundle(copied, tmp_path / "parts")


def test_force_replaces_parts_but_no_bundle(bundle: Bundle, tmp_path: Path) -> None:
    partition_bundle(bundle, tmp_path / "parts")
    with pytest.raises(UsageError, match="--force"):
        partition_bundle(bundle, tmp_path / "parts")
    partition_bundle(bundle, tmp_path / "parts", force=True)
    with pytest.raises(UsageError, match=f"has no {PARTITIONS}"):
        partition_bundle(bundle, bundle.path, force=True)


def test_command(bundle: Bundle, tmp_path: Path) -> None:
    options = ("--per-expert", "--conductances", "-o", tmp_path / "parts")
    result = hetc("partition", bundle.path, *options)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "parts/conductances/tiles.csv").is_file()
    assert f"{len(list((tmp_path / 'parts').glob('*.onnx')))} models" in result.stderr
    assert hetc("partition", bundle.path, "--g-max", 10, "-o", tmp_path / "other").returncode == 2
