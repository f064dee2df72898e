"""Every refusal is an OrtStatus that names the unit, what is wrong and what is allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_runs import MATMUL, NOISY, open_kernel, run_kernel
from single_node import single_node_model

UNIT = MATMUL["unit"]
X = np.ones((2, 10), np.float32)
W = np.ones((4, 10), np.float32)


def refused(
    *fragments: str,
    attributes: dict[str, Any] | None = None,
    without: str | None = None,
    config: dict[str, str] | None = None,
    x: np.ndarray = X,
    run_x: np.ndarray | None = None,
    unit: str = UNIT,
    **inputs: np.ndarray,
) -> None:
    """Assert that the model is refused with a text that holds the unit and all fragments."""
    written = {**MATMUL, **NOISY, "tile_rows": 5, **(attributes or {})}
    if without:
        del written[without]
    model = single_node_model("AnalogMatMul", x, {"w": W, **inputs}, written)
    if run_x is not None:
        model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(Exception) as error:
        run_kernel(model, x if run_x is None else run_x, config)
    for fragment in (unit, *fragments):
        assert fragment in str(error.value)


@pytest.mark.parametrize("attribute", sorted(set(MATMUL) - {"unit"}))
def test_missing_attribute(attribute: str) -> None:
    refused(f"attribute '{attribute}' is missing", without=attribute)


def test_without_a_unit_the_weight_names_the_node() -> None:
    refused(
        "attribute 'mode': 'ideal'",
        "exact, converters, noisy",
        attributes={"mode": "ideal"},
        without="unit",
        unit="w",
    )


@pytest.mark.parametrize(
    ("attribute", "value", "fragment"),
    [
        ("mode", "ideal", "allowed: exact, converters, noisy"),
        ("mode", 1, "missing or not a string"),
        ("transpose_weight", 2, "allowed: 0..1"),
        ("tile_rows", 0, "allowed: 1.."),
        ("tile_columns", -3, "allowed: 1.."),
        ("dac_bits", 1, "allowed: 0 or 2..16"),
        ("dac_bits", 17, "allowed: 0 or 2..16"),
        ("dac_bits", 8.0, "missing or not an int"),
        ("adc_bits", 25, "allowed: 0 or 2..24"),
        ("adc_bits", -8, "allowed: 0 or 2..24"),
        ("out_bound", 0.0, "allowed: finite, > 0"),
        ("out_bound", float("nan"), "allowed: finite, > 0"),
        ("noise_form", "pink", "allowed: none, differential-pair, gaussian"),
        ("noise_sigma", [0.1, float("inf")], "not finite"),
        ("noise_scale", -1.0, "allowed: finite, >= 0"),
        ("noise_sigma", [0.1, 0.2, 0.3], "multiple of 2"),
        ("noise_floor", -0.1, "allowed: finite, >= 0"),
        ("noise_offset", -0.1, "allowed: finite, >= 0"),
        ("drift_time", -1.0, "allowed: finite, >= 0"),
        ("drift_reference", 0.0, "allowed: finite, > 0"),
        ("drift_mean", [1.0] * 9, "a multiple of 10"),
        ("drift_deviation", [float("nan")] * 10, "not finite"),
        ("drift_compensation", "tile", "allowed: none, global, column"),
        ("flicker_noise", -1.0, "allowed: finite, >= 0"),
        ("flicker_read_time", 0.0, "allowed: finite, > 0"),
        ("output_noise", -1.0, "allowed: finite, >= 0"),
        ("weight_noise", float("inf"), "allowed: finite, >= 0"),
        ("weight_noise_form", "pink", "allowed: additive, pcm-read"),
        ("ir_drop", -1.0, "allowed: finite, >= 0"),
        ("dac_rounding", "up", "allowed: nearest, stochastic"),
        ("bound_management", "max", "allowed: none, iterative"),
        ("scale_mode", "row", "allowed: column, tile"),
        ("read_seed", 2**31, "allowed: 0..2147483647"),
        ("seed", -1, "allowed: 0.."),
        ("rank", -1, "allowed: 0.."),
        ("group_size", -1, "allowed: 0.."),
        ("digital_count", -1, "allowed: 0.."),
        ("stream", -1, "allowed: 0..2147483647"),
        ("stream", 2**31, "allowed: 0..2147483647"),
    ],
)
def test_bad_attribute(attribute: str, value: Any, fragment: str) -> None:
    breaks = {"noise_sigma_breaks": [0.5]} if "multiple of 2" in fragment else {}
    refused(f"'{attribute}'", fragment, attributes={attribute: value, **breaks})


def test_a_drift_that_is_not_known() -> None:
    refused("no drift is known for drift_time 60", attributes={"drift_time": 60.0})
    refused("no drift is known for drift_time 60", config={"hetc.drift_time": "60"})
    times = {"noise_times": [1.0, 3600.0], "noise_sigma": [0.1, 0.2]}
    refused("entries of noise_times", attributes=times, config={"hetc.drift_time": "60"})
    refused("'flicker_noise' is above 0", attributes={"flicker_noise": 1.0})
    gaussian = {"noise_form": "gaussian", "drift_mean": [0.0] * 10}
    refused("need noise_form differential-pair", attributes=gaussian)


def test_rank_lies_in_its_group() -> None:
    refused("attribute 'rank' is 4", "allowed: 0..3", attributes={"group_size": 4, "rank": 4})


@pytest.mark.parametrize(
    ("key", "value", "fragment"),
    [
        ("hetc.seed", "-1", "hetc.seed: '-1'"),
        ("hetc.seed", "", "hetc.seed: ''"),
        ("hetc.seed", "1e3", "hetc.seed: '1e3'"),
        ("hetc.seed", str(2**63), "0 to 2^63 - 1"),
        ("hetc.read_seed", str(2**31), "0 to 2^31 - 1"),
        ("hetc.drift_time", "-1", "allowed: numbers >= 0"),
        ("hetc.drift_time", "inf", "allowed: numbers >= 0"),
        ("hetc.mode", "Noisy", "allowed: exact, converters, noisy"),
        ("hetc.noise_scale", "-0.5", "allowed: numbers >= 0"),
        ("hetc.noise_scale", "nan", "allowed: numbers >= 0"),
        ("hetc.noise_scale", "1.0x", "allowed: numbers >= 0"),
        ("hetc.noise_scale", "1e999", "allowed: numbers >= 0"),
        ("hetc.store", "float16", "allowed: bfloat16, float32, int8"),
        ("hetc.digital_frac", "1.01", "decimal from 0 to 1"),
        ("hetc.digital_frac", "-0.1", "decimal from 0 to 1"),
        ("hetc.digital_frac", "25%", "decimal from 0 to 1"),
        ("hetc.digital_frac", "nan", "decimal from 0 to 1"),
        ("hetc.digital_frac", ".", "decimal from 0 to 1"),
        ("hetc.digital_frac", "4/3", "a ratio such as 1/3"),
        ("hetc.digital_frac", "1/0", "a ratio such as 1/3"),
        ("hetc.digital_frac", "/3", "a ratio such as 1/3"),
        ("hetc.digital_frac", "1/-3", "a ratio such as 1/3"),
        ("hetc.digital_frac", "0.5/1", "a ratio such as 1/3"),
        ("hetc.digital_fraction", "0.5", "is not known; known: hetc.mode"),
    ],
)
def test_bad_session_entry(key: str, value: str, fragment: str) -> None:
    refused(f"session entry {key}", fragment, config={key: value})


def test_entries_of_others_are_left_alone() -> None:
    model = single_node_model("AnalogMatMul", X, {"w": W}, {**MATMUL, **NOISY})
    assert run_kernel(model, X, {"other.key": "1"}).shape == (2, 4)


def test_fraction_below_what_was_compiled_digital() -> None:
    group = {"group_size": 8, "rank": 7, "digital_count": 2}
    refused(
        "keeps 1 of 8 digital", "2 were compiled", attributes=group, config={"hetc.digital_frac": "0.125"}
    )


def test_more_digital_than_the_group_has() -> None:
    refused("digital_count", "allowed: 0..8", attributes={"group_size": 8, "digital_count": 9})


@pytest.mark.parametrize(
    ("inputs", "fragment"),
    [
        ({"w": np.ones((4,), np.float32)}, "w has shape [4]"),
        ({"w": np.ones((0, 10), np.float32)}, "w has shape [0, 10]"),
        ({"input_range": np.ones(3, np.float32)}, "input_range has shape [3]; allowed: [2]"),
        ({"input_range": np.zeros(2, np.float32)}, "finite and > 0"),
        ({"input_range": np.full(2, np.nan, np.float32)}, "finite and > 0"),
        ({"input_range": np.ones(2, np.float16)}, "input_range is float16; allowed: float32"),
        ({"adc_bound": np.ones((2, 3), np.float32)}, "allowed: [2, 4] or [2, 1]"),
        ({"adc_bound": -np.ones((2, 4), np.float32)}, "finite and >= 0"),
        ({"weight_scale": np.full((2, 1), np.inf, np.float32)}, "finite and >= 0"),
        ({"weight_scale": np.ones((8,), np.float32)}, "weight_scale has shape [8]"),
    ],
)
def test_bad_constant(inputs: dict[str, np.ndarray], fragment: str) -> None:
    refused(fragment, **inputs)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("mode", ["converters", "noisy"])
def test_weights_that_are_not_finite(mode: str, bad: float) -> None:
    w = W.copy()
    w[2, 7] = bad
    refused("weight 'w' has NaN or infinity", attributes={"mode": mode}, w=w)


def test_weight_that_is_not_constant() -> None:
    model = single_node_model("AnalogMatMul", X, {"w": W}, MATMUL)
    weight = model.graph.initializer.pop()
    model.graph.input.append(type(model.graph.input[0])())
    model.graph.input[1].CopyFrom(model.graph.input[0])
    model.graph.input[1].name = weight.name
    with pytest.raises(Exception, match="w is not constant"):
        open_kernel(model)


@pytest.mark.parametrize("element", ["DOUBLE", "INT32", "BOOL"])
def test_weight_and_vector_of_another_type(element: str) -> None:
    import onnx

    names = {"DOUBLE": "float64", "INT32": "int32", "BOOL": "bool"}
    kind = getattr(onnx.TensorProto, element)
    model = single_node_model("AnalogMatMul", X, {"w": W}, MATMUL)
    model.graph.node[0].attribute[0].i = kind
    allowed = f"is {names[element]}; allowed: float32, float16, bfloat16"
    with pytest.raises(Exception, match=f"{UNIT}: x {allowed}"):
        open_kernel(model)
    model = single_node_model("AnalogMatMul", X, {"w": W}, MATMUL)
    values = W.astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(values, "w"))
    with pytest.raises(Exception, match=f"{UNIT}: w {allowed}"):
        open_kernel(model)


@pytest.mark.parametrize("shape", [(2, 9), (2, 11), (10, 2), (), (0, 3)])
def test_vectors_of_another_width(shape: tuple[int, ...]) -> None:
    refused("x has shape", "allowed: [..., 10]", run_x=np.ones(shape, np.float32))
