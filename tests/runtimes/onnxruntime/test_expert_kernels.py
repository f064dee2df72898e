"""The kernels of AnalogExpert and Expert16 against the NumPy reference."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from equality import assert_mostly_equal
from kernel_runs import NOISY, open_kernel, run_kernel, run_matmul
from single_node import ANALOG_ATTRIBUTES, single_node_model

from hetc.operators.activations import ACTIVATION_ATTRIBUTES
from hetc.operators.activations import ACTIVATIONS as BODIES
from hetc.runtimes.reference import Crossbar, activate, analog_expert, expert

STREAMS = {"gate_stream": 4, "up_stream": 5, "down_stream": 6}
ACTIVATIONS = tuple(sorted(set(BODIES) - set(ACTIVATION_ATTRIBUTES)))
CLAMPED = {"activation_alpha": 1.7, "activation_beta": 1.0, "activation_limit": 0.5}
HIDDEN, INTERMEDIATE = 90, 70


def parameters(
    transposed: int = 1, dtype: Any = np.float32, gated: bool = True, biased: bool = False
) -> dict[str, np.ndarray | None]:
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "gate": (INTERMEDIATE, HIDDEN),
        "up": (INTERMEDIATE, HIDDEN),
        "down": (HIDDEN, INTERMEDIATE),
    }
    values: dict[str, np.ndarray | None] = {}
    for name, shape in shapes.items():
        matrix = random.normal(size=shape) / np.sqrt(shape[1])
        values[name] = np.ascontiguousarray((matrix if transposed else matrix.T).astype(dtype))
        bias = random.normal(size=shape[0]).astype(np.float16 if name == "up" else np.float32)
        values[f"{name}_bias"] = bias if biased else None
    if not gated:
        values["gate"] = values["gate_bias"] = None
    return values


def vectors(rows: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(rows, HIDDEN)).astype(np.float32)


def analog_attributes(activation: str = "silu", gated: bool = True, **changes: Any) -> dict[str, Any]:
    streams = STREAMS if gated else {**STREAMS, "gate_stream": -1}
    return {**ANALOG_ATTRIBUTES, **NOISY, "tile_rows": 40, **streams, "activation": activation, **changes}


def reference(x: np.ndarray, values: dict[str, Any], attributes: dict[str, Any], store: str) -> np.ndarray:
    names = ("mode", "tile_rows", "dac_bits", "adc_bits", "out_bound", "noise_form", "noise_scale", "seed")
    crossbar = Crossbar(
        **{name: attributes[name] for name in names},
        noise_sigma=tuple(attributes["noise_sigma"]),
        store=store,
    )
    streams = tuple(attributes[name] for name in STREAMS)
    return analog_expert(
        x,
        values["gate"],
        values["up"],
        values["down"],
        crossbar,
        streams,
        attributes["activation"],
        transpose_weight=bool(attributes["transpose_weight"]),
        **{name: value for name, value in values.items() if name not in ("gate", "up", "down")},
        **{name: attributes[name] for name in ACTIVATION_ATTRIBUTES.get(attributes["activation"], ())},
    )


def assert_is_reference(
    x: np.ndarray, values: dict[str, np.ndarray | None], attributes: dict[str, Any]
) -> None:
    y = run_kernel(single_node_model("AnalogExpert", x, values, attributes), x, {"hetc.store": "float32"}, 2)
    expected = reference(x, values, attributes, "float32")
    if attributes["mode"] == "exact":
        np.testing.assert_allclose(y, expected, atol=2e-5 * np.abs(expected).max())
    else:
        assert_mostly_equal(y, expected)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("mode", ["exact", "converters", "noisy"])
def test_analog_expert(mode: str, gated: bool, activation: str) -> None:
    x, values = vectors(40), parameters(gated=gated, biased=True)
    attributes = analog_attributes(activation, gated, mode=mode)
    assert_is_reference(x, values, attributes)


@pytest.mark.parametrize("mode", ["exact", "converters", "noisy"])
def test_softcapped_swish(mode: str) -> None:
    x, values = vectors(40), parameters(biased=True)
    caps = {"activation_gate_cap": 0.7, "activation_up_cap": 1.3}
    assert_is_reference(x, values, analog_attributes("softcapped_swish", mode=mode, **caps))


@pytest.mark.parametrize("activation", ["leaky_relu", "elu"])
@pytest.mark.parametrize("gated", [True, False])
def test_slopes_below_zero(activation: str, gated: bool) -> None:
    x, values = vectors(40), parameters(gated=gated, biased=True)
    attributes = analog_attributes(activation, gated, mode="noisy", activation_alpha=0.3)
    assert_is_reference(x, values, attributes)


@pytest.mark.parametrize("mode", ["exact", "converters", "noisy"])
def test_clamped_swish(mode: str) -> None:
    x, values = vectors(40), parameters(biased=True)
    attributes = analog_attributes("clamped_swish", mode=mode, **CLAMPED)
    assert_is_reference(x, values, attributes)


def test_clamped_swish_of_16_bit_weights() -> None:
    x, values = vectors(7), parameters(dtype=ml_dtypes.bfloat16, biased=True)
    attributes = {"activation": "clamped_swish", "transpose_weight": 1, **CLAMPED}
    y = run_kernel(single_node_model("Expert16", x, values, attributes), x)
    expected = expert(x, **values, **attributes)
    np.testing.assert_allclose(y, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("transposed", [0, 1])
def test_analog_expert_types(dtype: Any, transposed: int) -> None:
    x = vectors(16).astype(dtype)
    values = parameters(transposed, ml_dtypes.bfloat16 if dtype == np.float16 else dtype)
    attributes = analog_attributes(transpose_weight=transposed)
    y = run_kernel(single_node_model("AnalogExpert", x, values, attributes), x, {"hetc.store": "float32"})
    expected = reference(x, values, attributes, "float32").astype(np.float32)
    if dtype == np.float32:
        assert_mostly_equal(y, expected)
    else:
        assert_mostly_equal(y, expected, share=2e-2)


def test_calibrated_inputs() -> None:
    random = np.random.default_rng(2)
    x, values = vectors(20), parameters()
    values["in_range"] = np.array([2.0, 1.5, 2.5], np.float32)
    values["mid_range"] = np.array([0.5, 0.7], np.float32)
    for name, slices, columns in (("gate", 3, INTERMEDIATE), ("up", 3, INTERMEDIATE), ("down", 2, HIDDEN)):
        values[f"{name}_adc_bound"] = random.uniform(1, 2, (slices, columns)).astype(np.float32)
        values[f"{name}_weight_scale"] = random.uniform(0.3, 0.5, (slices, 1)).astype(np.float32)
    attributes = analog_attributes()
    y = run_kernel(single_node_model("AnalogExpert", x, values, attributes), x, {"hetc.store": "float32"})
    assert_mostly_equal(y, reference(x, values, attributes, "float32"))


def test_fused_equals_three_products() -> None:
    """Through relu, which rounds nothing, the fused kernel and three AnalogMatMul agree in every bit."""
    x, values = vectors(7), parameters()
    attributes = analog_attributes("relu")
    fused = run_kernel(single_node_model("AnalogExpert", x, values, attributes), x)
    crossbar = {key: attributes[key] for key in ANALOG_ATTRIBUTES}
    gate, up = (
        run_matmul(x, values[name], {**crossbar, "stream": STREAMS[f"{name}_stream"]})
        for name in ("gate", "up")
    )
    h = np.maximum(gate, 0) * up
    y = run_matmul(h, values["down"], {**crossbar, "stream": STREAMS["down_stream"]})
    np.testing.assert_array_equal(fused, y)


@pytest.mark.parametrize("store", ["bfloat16", "float32", "int8"])
def test_threads_and_batches_change_no_bit(store: str) -> None:
    x, values = vectors(150), parameters(biased=True)
    model = single_node_model("AnalogExpert", x, values, analog_attributes())
    whole = run_kernel(model, x, {"hetc.store": store})
    session = open_kernel(model, {"hetc.store": store}, threads=2)
    parts = [session.run(None, {"x": x[start : start + 11]})[0] for start in range(0, len(x), 11)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("operator", ["AnalogExpert", "Expert16"])
def test_no_rows(operator: str) -> None:
    x, values = vectors(0), parameters(dtype=np.float16)
    attributes = (
        analog_attributes() if operator == "AnalogExpert" else {"activation": "silu", "transpose_weight": 1}
    )
    assert run_kernel(single_node_model(operator, x, values, attributes), x).shape == (0, HIDDEN)


def test_an_idle_expert_is_not_programmed() -> None:
    """Weights are looked at when they are programmed: those of an expert without rows are not."""
    values = parameters()
    assert values["up"] is not None
    values["up"][0, 0] = np.nan
    session = open_kernel(single_node_model("AnalogExpert", vectors(1), values, analog_attributes()))
    assert session.run(None, {"x": vectors(0)})[0].shape == (0, HIDDEN)
    with pytest.raises(Exception, match=r"layers\.0\.experts\.0: weight 'up' has NaN or infinity"):
        session.run(None, {"x": vectors(1)})


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("transposed", [0, 1])
def test_expert16(transposed: int, dtype: Any, gated: bool, activation: str) -> None:
    x, values = vectors(12), parameters(transposed, dtype, gated, biased=True)
    attributes = {"activation": activation, "transpose_weight": transposed}
    y = run_kernel(single_node_model("Expert16", x, values, attributes), x, threads=2)
    wide = {name: None if value is None else value.astype(np.float32) for name, value in values.items()}
    matrices = [wide.pop(name) for name in ("gate", "up", "down")]
    expected = expert(x, *matrices, activation, transpose_weight=bool(transposed), **wide)
    np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_far_from_zero(activation: str) -> None:
    """Through identity matrices an ungated expert is its activation."""
    x = np.concatenate([np.linspace(-12, 12, 60), [-1e4, -100, -50, 50, 100, 200]]).astype(np.float16)
    x = np.ascontiguousarray(np.broadcast_to(x[:, None], (len(x), 4)).astype(np.float32))
    eye = np.eye(4, dtype=np.float16)
    attributes = {"activation": activation, "transpose_weight": 1}
    y = run_kernel(single_node_model("Expert16", x, {"up": eye, "down": eye}, attributes), x)
    np.testing.assert_allclose(y, activate(x, activation), rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("operator", "changes", "fragment"),
    [
        (
            "AnalogExpert",
            {"activation": "swish"},
            "allowed: silu, gelu, gelu_tanh, relu, relu2, leaky_relu",
        ),
        ("AnalogExpert", {"gate_stream": -1}, "attribute 'gate_stream' is -1; allowed: 0.."),
        ("AnalogExpert", {"down": np.ones((HIDDEN, 3), np.float32)}, "down must be its reverse"),
        ("AnalogExpert", {"gate": np.ones((3, HIDDEN), np.float32)}, "they must agree"),
        ("AnalogExpert", {"gate": None}, "attribute 'gate_stream' is 4; allowed: -1..-1"),
        ("AnalogExpert", {"up_bias": np.ones(3, np.float32)}, "up_bias has shape [3]; allowed: [70]"),
        ("AnalogExpert", {"down_bias": np.ones(HIDDEN, np.float64)}, "down_bias is float64"),
        ("AnalogExpert", {"mid_range": np.ones(3, np.float32)}, "mid_range has shape [3]; allowed: [2]"),
        ("AnalogExpert", {"down_adc_bound": np.ones((3, 1), np.float32)}, "down_adc_bound has shape [3, 1]"),
        ("AnalogExpert", {"activation": "clamped_swish"}, "activation_alpha"),
        ("AnalogExpert", {"activation": "leaky_relu"}, "activation_alpha"),
        ("Expert16", {"activation": "softcapped_swish"}, "activation_gate_cap"),
        (
            "Expert16",
            {"activation": "clamped_swish", **CLAMPED, "activation_limit": 0.0},
            "'activation_limit' is 0.000000; allowed: finite, > 0",
        ),
        ("Expert16", {"activation": "swish"}, "allowed: silu, gelu, gelu_tanh, relu, relu2, leaky_relu"),
        ("Expert16", {"up": np.ones((INTERMEDIATE, HIDDEN), np.float32)}, "allowed: float16, bfloat16"),
        ("Expert16", {"gate_bias": np.ones(INTERMEDIATE, np.float32), "gate": None}, "but gate is not"),
    ],
)
def test_refusals(operator: str, changes: dict[str, Any], fragment: str) -> None:
    analog = operator == "AnalogExpert"
    values = parameters(dtype=np.float32 if analog else np.float16)
    attributes = analog_attributes() if analog else {"activation": "silu", "transpose_weight": 1}
    for name, change in changes.items():
        (attributes if isinstance(change, (str, int, float)) else values)[name] = change
    wide = {name: value for name, value in values.items() if value is None or value.dtype != np.float64}
    model = single_node_model(operator, vectors(1), wide, attributes)
    add_float64(model, {name: value for name, value in values.items() if name not in wide})
    unit = attributes.get("unit", "up")
    with pytest.raises(Exception, match=unit) as error:
        open_kernel(model)
    assert fragment in str(error.value)


def add_float64(model: Any, values: dict[str, np.ndarray]) -> None:
    """Add inputs of a type that `single_node_model` does not write."""
    from onnx import numpy_helper

    from hetc.operators.schemas import INPUTS

    node = model.graph.node[1]
    for name, value in values.items():
        position = list(INPUTS[node.op_type]).index(name)
        node.input.extend([""] * (position + 1 - len(node.input)))
        node.input[position] = name
        model.graph.initializer.append(numpy_helper.from_array(value, name))
