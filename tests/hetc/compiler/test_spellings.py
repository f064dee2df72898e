"""A model whose MoE layers are spelled otherwise, through compile, inspect and explain."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from command_line import hetc
from models import moe_model
from onnx_ir.passes.common import RemoveUnusedNodesPass

import hetc as hetc_api
from hetc.base.errors import InvalidInputError


def respell(model: ir.Model, unknown_layer: int | None = None) -> ir.Model:
    """Turns the canonical layers of `moe_model` into com.microsoft::MoE; one may use the sparse mixer."""
    graph = model.graph
    for layer in (0, 1):
        prefix = f"layers.{layer}.experts"
        nodes = {node.name: node for node in graph if (node.name or "").startswith(prefix)}
        scores = nodes[f"{prefix}/ids"].inputs[0].producer().inputs[0]
        softmax = scores.producer()
        weights = {
            part: np.stack(
                [
                    graph.initializers[
                        f"model.{prefix.replace('.exp', '.mlp.exp')}.{e}.{part}_proj.weight"
                    ].const_value.numpy()
                    for e in range(4)
                ]
            )
            for part in ("gate", "up", "down")
        }
        rows = np.stack([weights["gate"], weights["up"]], axis=2).reshape(4, 12, 8)
        stacks = []
        for name, numbers in (("gate_up_proj", rows), ("down_proj", weights["down"])):
            value = ir.val(f"model.layers.{layer}.moe.experts.{name}.weight", const_value=ir.tensor(numbers))
            value.const_value.name = value.name
            graph.register_initializer(value)
            stacks.append(value)
        x = nodes[f"{prefix}/rows"].inputs[0]
        node = ir.node(
            "MoE",
            [x, softmax.inputs[0], stacks[0], None, stacks[1]],
            {"k": 2, "activation_type": "swiglu", "swiglu_fusion": 1},
            domain="com.microsoft",
            name=f"/model/layers.{layer}/moe/MoE",
        )
        if layer == unknown_layer:
            node.attributes["use_sparse_mixer"] = ir.AttrInt64("use_sparse_mixer", 1)
        x.dtype, x.shape = ir.DataType.FLOAT, ir.Shape(["T", 8])
        last = nodes[f"{prefix}/sum"]
        graph.insert_before(last, node)
        last.outputs[0].replace_all_uses_with(node.outputs[0])
        node.outputs[0].name = f"moe_{layer}"
    graph.opset_imports["com.microsoft"] = 1
    RemoveUnusedNodesPass()(model)
    model.functions.clear()
    return model


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "model.onnx"
    path.parent.mkdir()
    ir.save(respell(moe_model()), path, external_data="weights.bin", size_threshold_bytes=0)
    return path


@pytest.fixture
def partly_known(tmp_path: Path) -> Path:
    ir.save(respell(moe_model(), unknown_layer=1), tmp_path / "partly.onnx")
    return tmp_path / "partly.onnx"


def test_compiled_bundle_equals_the_source(source: Path, tmp_path: Path) -> None:
    bundle = hetc_api.compile(source, tmp_path / "out.hetc", digital_frac="0.5")
    assert [finding.spelling for finding in bundle.plan.findings] == ["com.microsoft::MoE"] * 2
    ids = {"input_ids": np.arange(7)}
    expected = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, ids)
    actual = bundle.session(mode="exact").run(None, ids)
    np.testing.assert_allclose(actual[0], expected[0], atol=1e-5)
    explained = hetc("explain", tmp_path / "out.hetc", "layers.1.experts.2")
    assert "layers.1 was spelled com.microsoft::MoE" in explained.stdout, explained.stderr


def test_newest_opset(tmp_path: Path) -> None:
    model = respell(moe_model())
    model.graph.opset_imports[""] = 24  # mobius'
    bundle = hetc_api.compile(model, tmp_path / "out.hetc")
    ids = {"input_ids": np.arange(7)}
    proto = ir.to_proto(model).SerializeToString()
    expected = onnxruntime.InferenceSession(proto, providers=["CPUExecutionProvider"]).run(None, ids)
    np.testing.assert_allclose(bundle.session(mode="exact").run(None, ids)[0], expected[0], atol=1e-5)
    portable = onnxruntime.InferenceSession(
        tmp_path / "out.hetc" / "model.portable.onnx", providers=["CPUExecutionProvider"]
    )
    converters = bundle.session(mode="converters").run(None, ids)
    np.testing.assert_allclose(portable.run(None, ids)[0], converters[0], atol=1e-4)


def test_unknown_layer_is_refused_by_name(partly_known: Path, tmp_path: Path) -> None:
    done = hetc("compile", partly_known, "-o", tmp_path / "out.hetc")
    assert done.returncode == 3
    message = " ".join(done.stderr.split())
    assert "layers.1: nearest is com.microsoft::MoE" in message
    assert "/model/layers.1/moe/MoE" in message and "use_sparse_mixer is 1" in message
    assert "--allow-partial" in message
    assert not (tmp_path / "out.hetc").exists()
    with pytest.raises(InvalidInputError, match="use_sparse_mixer is 1"):
        hetc_api.compile(partly_known, tmp_path / "out.hetc")


def test_partial_leaves_the_unknown_layer_digital(partly_known: Path, tmp_path: Path) -> None:
    done = hetc("compile", partly_known, "--allow-partial", "-o", tmp_path / "out.hetc")
    assert done.returncode == 0, done.stderr
    assert "left as is" in done.stdout and "layers.1" in done.stdout
    plan = hetc_api.load_bundle(tmp_path / "out.hetc").plan
    assert {unit.layer for unit in plan.units if unit.kind == "expert"} == {0}
    assert [(finding.layer, finding.raised) for finding in plan.findings] == [
        ("layers.0", True),
        ("layers.1", False),
    ]
    model = ir.load(tmp_path / "out.hetc" / "model.portable.onnx")
    assert [node.name for node in model.graph if node.op_type == "MoE"] == ["/model/layers.1/moe/MoE"]


def test_inspect_says_what_is_recognised(partly_known: Path) -> None:
    done = hetc("inspect", partly_known, "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [finding["raised"] for finding in shown["findings"]] == [True, False]
    assert sum(unit["kind"] == "expert" for unit in shown["units"]) == 4


def test_inspect_of_nothing_recognised_names_the_nearest(tmp_path: Path) -> None:
    model = respell(moe_model())
    for node in model.graph:
        if node.op_type == "MoE":
            node.attributes["activation_type"] = ir.AttrString("activation_type", "identity")
    ir.save(model, tmp_path / "model.onnx")
    done = hetc("inspect", tmp_path / "model.onnx")
    assert done.returncode == 0, done.stderr
    assert "0 MoE layers" in done.stdout
    assert "layers.0: nearest is com.microsoft::MoE" in " ".join(done.stdout.split())


def test_leaving_all_layers_is_no_advice(tmp_path: Path) -> None:
    """Without a layer that hetc knows there is nothing to place."""
    model = respell(moe_model())
    for node in model.graph:
        if node.op_type == "MoE":
            node.attributes["use_sparse_mixer"] = ir.AttrInt64("use_sparse_mixer", 1)
    ir.save(model, tmp_path / "unknown.onnx")
    for partial in ([], ["--allow-partial"]):
        done = hetc("compile", tmp_path / "unknown.onnx", "-o", tmp_path / "out.hetc", *partial)
        assert done.returncode == 3
        assert "use_sparse_mixer is 1" in done.stderr and "hetc export" in done.stderr
        assert "--allow-partial" not in done.stderr
        assert not (tmp_path / "out.hetc").exists()
