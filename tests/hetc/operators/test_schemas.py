"""The schemas make onnx's checker see attributes, and agree with the specification."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest
from places import ROOT
from single_node import ANALOG_ATTRIBUTES, single_node_model

from hetc.operators.activations import ACTIVATION_ATTRIBUTES
from hetc.operators.schemas import ATTRIBUTES, DOMAIN, INPUTS, register

SPECIFICATION = (ROOT / "docs" / "operators.md").read_text()
EXPERT_WEIGHTS = {
    "gate": np.zeros((6, 4), np.float32),
    "up": np.zeros((6, 4), np.float32),
    "down": np.zeros((4, 6), np.float32),
}
EXAMPLES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "AnalogMatMul": ({"w": np.zeros((6, 4), np.float32)}, {**ANALOG_ATTRIBUTES, "stream": 1}),
    "AnalogExpert": (
        EXPERT_WEIGHTS,
        {**ANALOG_ATTRIBUTES, "gate_stream": 0, "up_stream": 1, "down_stream": 2, "activation": "silu"},
    ),
    "Expert": (EXPERT_WEIGHTS, {"activation": "silu", "transpose_weight": 1}),
    "Expert16": (
        {name: weight.astype(np.float16) for name, weight in EXPERT_WEIGHTS.items()},
        {"activation": "silu", "transpose_weight": 1},
    ),
    "MatMul16": ({"w": np.zeros((6, 4), np.float16)}, {"transpose_weight": 1}),
    "RequireLibrary": ({}, {}),
}
X = np.zeros((3, 4), np.float32)


@pytest.fixture(autouse=True)
def registered() -> None:
    register()


def test_registering_again_does_nothing() -> None:
    register()
    assert all(onnx.defs.has(operator, DOMAIN) for operator in ATTRIBUTES)


@pytest.mark.parametrize("operator", EXAMPLES)
def test_a_whole_node_passes_the_checker(operator: str) -> None:
    constants, attributes = EXAMPLES[operator]
    onnx.checker.check_model(single_node_model(operator, X, constants, attributes), full_check=True)


@pytest.mark.parametrize(
    ("operator", "attribute"), [(name, key) for name, example in EXAMPLES.items() for key in example[1]]
)
def test_a_missing_attribute_fails_the_checker(operator: str, attribute: str) -> None:
    constants, attributes = EXAMPLES[operator]
    rest = {key: value for key, value in attributes.items() if key != attribute}
    with pytest.raises(onnx.checker.ValidationError, match=attribute):
        onnx.checker.check_model(single_node_model(operator, X, constants, rest))


def test_an_unknown_or_wrongly_typed_attribute_fails_the_checker() -> None:
    constants, attributes = EXAMPLES["AnalogMatMul"]
    for change in ({"tile_size": 512}, {"adc_bits": 8.0}):
        model = single_node_model("AnalogMatMul", X, constants, {**attributes, **change})
        with pytest.raises(onnx.checker.ValidationError, match=next(iter(change))):
            onnx.checker.check_model(model)


def test_a_missing_required_input_fails_the_checker() -> None:
    constants, attributes = EXAMPLES["AnalogExpert"]
    model = single_node_model("AnalogExpert", X, {"up": constants["up"]}, attributes)
    with pytest.raises(onnx.checker.ValidationError, match=r"down|input size"):
        onnx.checker.check_model(model)


def test_a_type_outside_the_specification_fails_full_checking() -> None:
    constants, attributes = EXAMPLES["Expert16"]
    model = single_node_model("Expert", X, constants, attributes)
    with pytest.raises(onnx.shape_inference.InferenceError):
        onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(
    ("operator", "transpose_weight", "outputs"),
    [
        ("AnalogMatMul", 1, 6),
        ("AnalogMatMul", 0, 4),
        ("AnalogExpert", 1, 4),
        ("MatMul16", 1, 6),
        ("MatMul16", 0, 4),
        ("RequireLibrary", 1, 4),
    ],
)
def test_shapes_are_inferred(operator: str, transpose_weight: int, outputs: int) -> None:
    constants, attributes = EXAMPLES[operator]
    if "transpose_weight" in attributes:
        attributes = {**attributes, "transpose_weight": transpose_weight}
    x = np.zeros((3, 5, 4), np.float32)
    model = onnx.shape_inference.infer_shapes(single_node_model(operator, x, constants, attributes))
    [inferred] = [value.type.tensor_type for value in model.graph.value_info if value.name == "y_cast"]
    assert [dim.dim_param or dim.dim_value for dim in inferred.shape.dim] == ["d0", "d1", outputs]


def test_attributes_are_those_of_the_specification() -> None:
    section = SPECIFICATION.split("## Attributes shared by")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \| (int|float|floats|string) \|", section, re.MULTILINE)
    table = {name: kind for names, kind in rows for name in re.findall(r"`(\w+)`", names)}
    added = {"stream": "int"}, {"gate_stream": "int", "up_stream": "int", "down_stream": "int"}
    assert ATTRIBUTES["AnalogMatMul"] == {**table, **added[0]}
    assert ATTRIBUTES["AnalogExpert"] == {**table, **added[1], "activation": "string"}
    assert all(f"`{name}`" in SPECIFICATION for names in ACTIVATION_ATTRIBUTES.values() for name in names)


@pytest.mark.parametrize("operator", ["AnalogMatMul", "AnalogExpert", "Expert"])
def test_inputs_are_those_of_the_specification(operator: str) -> None:
    signature = re.search(rf"\b{operator}\((x.*?)\) -> y", SPECIFICATION, re.DOTALL)
    assert signature is not None
    names = [name.strip() for name in signature[1].split(",")]
    expected = [name + "?" if kind.endswith("?") else name for name, kind in INPUTS[operator].items()]
    assert names == expected
