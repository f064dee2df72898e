"""The body of `AnalogExpert`, run without the library, against the NumPy reference."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from equality import assert_mostly_equal
from single_node import ANALOG_ATTRIBUTES, Run, run_in_evaluator, run_in_onnxruntime, single_node_model

from hetc.base.errors import InvalidInputError
from hetc.operators.activations import ACTIVATION_ATTRIBUTES, ACTIVATIONS
from hetc.operators.analog import analog_expert_function, analog_matmul_function
from hetc.operators.schemas import register
from hetc.runtimes.reference import Crossbar, analog_expert, split

RUNTIMES = pytest.mark.parametrize("run", [run_in_onnxruntime, run_in_evaluator])
TYPES = [np.float32, np.float16, ml_dtypes.bfloat16]


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    register()


EXPERT_ATTRIBUTES = {"gate_stream": 0, "up_stream": 1, "down_stream": 2}


def check_expert(
    run: Run,
    *,
    gated: bool = True,
    activation: str = "silu",
    biases: tuple[str, ...] = (),
    calibrated: tuple[str, ...] = (),
    transpose_weight: int = 1,
    x_type: Any = np.float32,
    w_type: Any = np.float32,
    shape: tuple[int, ...] = (6, 40),
    **parameters: float,
) -> None:
    """Run the body of an expert with H = 40, I = 24 and 16 rows a tile, and compare it with the reference."""
    random = np.random.default_rng(4)
    x = random.normal(size=shape).astype(x_type)
    shapes = {"gate": (24, 40), "up": (24, 40), "down": (40, 24)}
    constants: dict[str, Any] = {}
    for name, size in shapes.items():
        weight = (random.normal(size=size) / np.sqrt(size[1])).astype(w_type)
        constants[name] = weight if transpose_weight else np.ascontiguousarray(weight.T)
        slices = len(split(size[1], 16))
        if f"{name}_bias" in biases:
            constants[f"{name}_bias"] = random.normal(size=size[0]).astype(w_type)
        if "adc_bound" in calibrated:
            constants[f"{name}_adc_bound"] = random.uniform(4, 8, (slices, size[0])).astype(np.float32)
        if "weight_scale" in calibrated:
            constants[f"{name}_weight_scale"] = random.uniform(1, 2, (slices, 1)).astype(np.float32)
    if "input_range" in calibrated:
        constants["in_range"] = np.full(len(split(40, 16)), 2.0, np.float32)
        constants["mid_range"] = np.full(len(split(24, 16)), 1.0, np.float32)
    if "ranks" in calibrated:
        constants["neuron_rank"] = random.permutation(24).astype(np.int32)
    if not gated:
        constants = {name: value for name, value in constants.items() if not name.startswith("gate")}
    pattern = {name: name in calibrated for name in ("input_range", "adc_bound", "weight_scale", "ranks")}
    functions = [
        analog_matmul_function(opset=21, **pattern),
        analog_expert_function(
            opset=21,
            gated=gated,
            activation=activation,
            **{f"{name}_bias": f"{name}_bias" in constants for name in shapes},
            **pattern,
        ),
    ]
    attributes = {
        **ANALOG_ATTRIBUTES,
        **EXPERT_ATTRIBUTES,
        "tile_rows": 16,
        "activation": activation,
        "transpose_weight": transpose_weight,
        "digital_count": 5,
        **parameters,
    }
    model = single_node_model("AnalogExpert", x, constants, attributes, functions, 21)
    onnx.checker.check_model(model, full_check=True)
    neuron_rank = constants.pop("neuron_rank", None)
    expected = analog_expert(
        x,
        crossbar=Crossbar("converters", tile_rows=16),
        streams=(0, 1, 2),
        activation=activation,
        transpose_weight=bool(transpose_weight),
        digital_neurons=None if neuron_rank is None else neuron_rank < 5,
        **{"gate": None, **constants},
        **parameters,
    )
    y = run(model, x)
    assert y.shape == shape
    assert_mostly_equal(y, expected)


@RUNTIMES
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - set(ACTIVATION_ATTRIBUTES)))
def test_expert_activations(run: Run, gated: bool, activation: str) -> None:
    check_expert(run, gated=gated, activation=activation)


ATTRIBUTES = {"activation_alpha": 0.3, "activation_gate_cap": 0.7, "activation_up_cap": 1.3}


@RUNTIMES
@pytest.mark.parametrize("activation", ["leaky_relu", "elu", "softcapped_swish"])
def test_activations_with_attributes(run: Run, activation: str) -> None:
    own = {name: ATTRIBUTES[name] for name in ACTIVATION_ATTRIBUTES[activation]}
    check_expert(run, activation=activation, **own)


@RUNTIMES
def test_clamped_swish(run: Run) -> None:
    parameters = {"activation_alpha": 1.7, "activation_beta": 1.0, "activation_limit": 0.5}
    check_expert(run, activation="clamped_swish", biases=("gate_bias", "up_bias", "down_bias"), **parameters)


@RUNTIMES
@pytest.mark.parametrize(
    "calibrated",
    [
        (),
        ("input_range",),
        ("adc_bound",),
        ("input_range", "weight_scale"),
        ("ranks",),
        ("input_range", "ranks"),
    ],
)
@pytest.mark.parametrize("biases", [(), ("down_bias",), ("gate_bias", "up_bias", "down_bias")])
@pytest.mark.parametrize("gated", [True, False])
def test_expert_inputs(run: Run, calibrated: tuple[str, ...], biases: tuple[str, ...], gated: bool) -> None:
    check_expert(run, gated=gated, biases=biases, calibrated=calibrated)


@RUNTIMES
@pytest.mark.parametrize("x_type", TYPES)
@pytest.mark.parametrize("w_type", TYPES)
@pytest.mark.parametrize("transpose_weight", [0, 1])
def test_expert_types(run: Run, x_type: Any, w_type: Any, transpose_weight: int) -> None:
    biases = ("gate_bias", "up_bias", "down_bias")
    check_expert(run, x_type=x_type, w_type=w_type, transpose_weight=transpose_weight, biases=biases)


@RUNTIMES
@pytest.mark.parametrize("shape", [(0, 40), (1, 40), (2, 3, 40)])
def test_expert_leading_dimensions(run: Run, shape: tuple[int, ...]) -> None:
    check_expert(run, shape=shape)


def test_an_activation_without_a_body_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'swish'"):
        analog_expert_function(opset=18, gated=True, activation="swish")
