"""An expert in two parts computes what the whole computes, bit for bit where the kernels compute both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from digital_neurons import rank_neurons
from equality import assert_mostly_equal
from kernel_runs import NOISY
from single_node import ANALOG_ATTRIBUTES, single_node_model

from hetc.passes.rewrite.split_neurons import NeuronSum, SplitNeurons
from hetc.passes.run_passes import run_passes
from hetc.runtimes.onnxruntime.session import open_session

STREAMS = {"gate_stream": 4, "up_stream": 5, "down_stream": 6, "activation": "silu"}
DIGITAL = np.random.default_rng(1).random(34) < 0.3


def expert_model(x: np.ndarray, dtype: Any, **changes: Any) -> ir.Model:
    """The model of an AnalogExpert 20 -> 34 -> 20 with gate and biases."""
    random = np.random.default_rng(0)
    shapes = {"gate": (34, 20), "up": (34, 20), "down": (20, 34)}
    shapes |= {"gate_bias": (34,), "up_bias": (34,), "down_bias": (20,)}
    values = {name: random.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    if changes.get("transpose_weight") == 0:
        values |= {name: np.ascontiguousarray(values[name].T) for name in ("gate", "up", "down")}
    if changes.get("gate_stream") == -1:
        del values["gate"], values["gate_bias"]
    ranks, group = rank_neurons(neuron_rank=DIGITAL)
    attributes = {**ANALOG_ATTRIBUTES, **NOISY, **STREAMS, "tile_rows": 12, **group, **changes}
    proto = single_node_model("AnalogExpert", x, {**values, **ranks}, attributes)
    model = ir.from_proto(proto)
    for index, node in enumerate(model.graph):
        node.name = node.name or f"node_{index}"
    model.graph[0].outputs[0].dtype = ir.DataType.from_numpy(x.dtype)
    return model


def run(model: ir.Model, x: np.ndarray, folder: Path) -> np.ndarray:
    folder.mkdir()
    ir.save(model, folder / "model.onnx")
    return open_session(folder / "model.onnx", threads=1).run(None, {"x": x.astype(np.float32)})[0]


@pytest.mark.parametrize("mode", ["noisy", "converters"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("changes", [{}, {"transpose_weight": 0}, {"gate_stream": -1}], ids=str)
def test_parts_are_the_whole(
    tmp_path: Path, mode: str, dtype: Any, narrow: bool, changes: dict[str, Any]
) -> None:
    x = np.random.default_rng(2).normal(size=(9, 20)).astype(np.float16 if narrow else np.float32)
    model = expert_model(x, dtype, mode=mode, **changes)
    expected = run(model, x, tmp_path / "whole")
    split = SplitNeurons()
    run_passes(model, split)
    (node,) = [node for node in model.graph if node.op_type == "AnalogExpert"]
    unit, y = node.attributes["unit"].as_string(), split.sums[0].output
    assert split.sums == (NeuronSum(unit, f"{y}.analog", f"{y}.digital", y),)
    assert node.outputs[0].name == f"{y}.analog"
    kinds = [node.op_type for node in model.graph]
    operator = "Expert" if dtype == np.float32 else "Expert16"
    assert [kind for kind in kinds if "Expert" in kind] == ["AnalogExpert", operator]
    assert ("CastLike" in kinds) == narrow
    actual = run(model, x, tmp_path / "parts")
    if dtype == np.float32:  # the digital part is standard operators
        assert_mostly_equal(actual.astype(np.float32), expected.astype(np.float32))
    else:
        np.testing.assert_array_equal(actual, expected)


def test_each_part_holds_its_neurons() -> None:
    model = expert_model(np.zeros((1, 20), np.float32), np.float32)
    before = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    run_passes(model, SplitNeurons())
    analog, digital = (node for node in model.graph if "Expert" in node.op_type)
    for side, index in (("gate", 1), ("up", 2), ("down", 3)):
        lines = (slice(None), DIGITAL) if side == "down" else DIGITAL
        np.testing.assert_array_equal(digital.inputs[index].const_value.numpy(), before[side][lines])
        cleared = before[side].copy()
        cleared[lines] = 0
        np.testing.assert_array_equal(analog.inputs[index].const_value.numpy(), cleared)
    assert not digital.inputs[6].const_value.numpy().any()
    assert not analog.inputs[6].const_value.numpy().any()
    assert not {"gate", "up", "down"} & set(model.graph.initializers)
    onnx.checker.check_model(ir.to_proto(model))


def test_an_expert_without_digital_neurons_stays() -> None:
    model = expert_model(np.zeros((1, 20), np.float32), np.float32, digital_count=0)
    split = SplitNeurons()
    assert not split(model).modified
    assert split.sums == ()
