"""The bodies of `Expert` and `Expert16`, run without the library, against the NumPy reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from single_node import run_in_evaluator, run_in_onnxruntime, single_node_model

from hetc.base.errors import InvalidInputError
from hetc.operators.activations import ACTIVATION_ATTRIBUTES, ACTIVATIONS
from hetc.operators.expert import expert_function
from hetc.operators.schemas import register
from hetc.runtimes.reference import expert

Run = Callable[[onnx.ModelProto, NDArray[Any]], NDArray[np.float32]]
RUNTIMES = pytest.mark.parametrize("run", [run_in_onnxruntime, run_in_evaluator])
BIASES = ("gate_bias", "up_bias", "down_bias")


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    register()


def check_expert(
    run: Run,
    *,
    operator: str = "Expert",
    weight_type: Any = np.float32,
    x_type: Any = np.float32,
    gated: bool = True,
    activation: str = "silu",
    biases: tuple[str, ...] = (),
    transpose_weight: bool = True,
    rows: int = 3,
    hidden: int = 5,
    intermediate: int = 4,
    opset: int = 18,
    **parameters: float,
) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, hidden)).astype(x_type)
    shapes = {"up": (intermediate, hidden), "down": (hidden, intermediate)}
    if gated:
        shapes["gate"] = (intermediate, hidden)
    constants = {
        name: random.normal(size=shape if transpose_weight else shape[::-1]).astype(weight_type)
        for name, shape in shapes.items()
    }
    sizes = {"gate_bias": intermediate, "up_bias": intermediate, "down_bias": hidden}
    constants |= {name: random.normal(size=sizes[name]).astype(np.float32) for name in biases}
    function = expert_function(
        operator, opset=opset, gated=gated, activation=activation, **dict.fromkeys(biases, True)
    )
    attributes = {"activation": activation, "transpose_weight": int(transpose_weight), **parameters}
    model = single_node_model(operator, x, constants, attributes, [function], opset)
    onnx.checker.check_model(model, full_check=True)

    wide = {name: value.astype(np.float32) for name, value in constants.items()}
    expected = expert(
        x.astype(np.float32),
        wide.get("gate"),
        wide["up"],
        wide["down"],
        activation,
        transpose_weight=transpose_weight,
        **{name: wide[name] for name in biases},
        **parameters,
    )
    actual = run(model, x)
    assert actual.shape == expected.shape == (rows, hidden)
    tolerance = 1e-5 if x_type == np.float32 else 2e-2
    np.testing.assert_allclose(actual, expected.astype(np.float32), rtol=tolerance, atol=tolerance)


@RUNTIMES
@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - set(ACTIVATION_ATTRIBUTES)))
@pytest.mark.parametrize("gated", [True, False])
def test_activation(run: Run, activation: str, gated: bool) -> None:
    check_expert(run, activation=activation, gated=gated)


ATTRIBUTES = {"activation_alpha": 0.3, "activation_gate_cap": 0.7, "activation_up_cap": 1.3}


@RUNTIMES
@pytest.mark.parametrize("activation", ["leaky_relu", "elu", "softcapped_swish"])
def test_activations_with_attributes(run: Run, activation: str) -> None:
    own = {name: ATTRIBUTES[name] for name in ACTIVATION_ATTRIBUTES[activation]}
    check_expert(run, activation=activation, biases=BIASES, **own)


@RUNTIMES
@pytest.mark.parametrize("operator", ["Expert", "Expert16"])
def test_clamped_swish(run: Run, operator: str) -> None:
    check_expert(
        run,
        operator=operator,
        weight_type=np.float32 if operator == "Expert" else np.float16,
        activation="clamped_swish",
        biases=BIASES,
        activation_alpha=1.7,
        activation_beta=1.0,
        activation_limit=0.5,
    )


@RUNTIMES
@pytest.mark.parametrize("biases", [BIASES, ("up_bias",), ("down_bias",)])
def test_biases(run: Run, biases: tuple[str, ...]) -> None:
    check_expert(run, biases=biases)
    check_expert(run, biases=biases, operator="Expert16", weight_type=np.float16)


@RUNTIMES
def test_ungated_biases(run: Run) -> None:
    check_expert(run, gated=False, biases=("up_bias", "down_bias"))


@pytest.mark.parametrize("weight_type", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("x_type", [np.float32, np.float16])
@pytest.mark.parametrize("transpose_weight", [True, False])
def test_16_bit_weights(weight_type: Any, x_type: Any, transpose_weight: bool) -> None:
    check_expert(
        run_in_onnxruntime,
        operator="Expert16",
        weight_type=weight_type,
        x_type=x_type,
        transpose_weight=transpose_weight,
    )


@pytest.mark.parametrize("opset", [18, 21])
def test_opset(opset: int) -> None:
    check_expert(run_in_onnxruntime, opset=opset)


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(0, 4), hidden=st.integers(1, 6), intermediate=st.integers(1, 6), transpose=st.booleans()
)
def test_shapes(rows: int, hidden: int, intermediate: int, transpose: bool) -> None:
    check_expert(
        run_in_onnxruntime,
        rows=rows,
        hidden=hidden,
        intermediate=intermediate,
        transpose_weight=transpose,
    )


def test_clamped_swish_needs_a_gate() -> None:
    with pytest.raises(InvalidInputError, match="'clamped_swish' needs experts with a gate"):
        expert_function("Expert", opset=18, gated=False, activation="clamped_swish")


def test_unknown_activation() -> None:
    with pytest.raises(InvalidInputError, match="'mish' has no body"):
        expert_function("Expert", opset=18, gated=True, activation="mish")
