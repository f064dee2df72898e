"""The reference of the experts: activations, gating, biases, and the products in between."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from hetc.base.errors import InvalidInputError
from hetc.operators.activations import ACTIVATION_ATTRIBUTES
from hetc.runtimes.reference import Crossbar, activate, analog_expert, analog_matmul, expert

NOISE: dict[str, Any] = {"noise_form": "differential-pair", "noise_sigma": (0.01, 0.08, -0.05), "seed": 3}

# Printed by torch 2.13 in float64: silu, gelu, gelu(approximate="tanh"); relu and its square by hand.
POINTS = [-3.0, -0.5, 0.0, 0.7, 2.0]
EXPECTED = {
    "silu": [-0.1422776195327, -0.1887703343991, 0.0, 0.4677314405177, 1.761594155956],
    "gelu": [-0.00404969409489, -0.154268769363, 0.0, 0.5306254434438, 1.954499736104],
    "gelu_tanh": [-0.003637392081773, -0.1542859901749, 0.0, 0.5305701347051, 1.954597694088],
    "relu": [0.0, 0.0, 0.0, 0.7, 2.0],
    "relu2": [0.0, 0.0, 0.0, 0.49, 4.0],
    "relu6": [0.0, 0.0, 0.0, 0.7, 2.0],
    "leaky_relu": [-0.75, -0.125, 0.0, 0.7, 2.0],
    "elu": [-0.237553232908, -0.0983673350718, 0.0, 0.7, 2.0],
    "tanh": [-0.995054753687, -0.46211715726, 0.0, 0.604367777117, 0.964027580076],
    "sigmoid": [0.0474258731776, 0.377540668798, 0.5, 0.668187772168, 0.880797077978],
    "softplus": [0.0485873515737, 0.474076984180, 0.69314718056, 1.10318604889, 2.12692801104],
    "hard_swish": [0.0, -0.208333333333, 0.0, 0.431666666667, 1.66666666667],
}
ALPHA = {"activation_alpha": 0.25}


def weights(seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    shapes = {"gate": (24, 16), "up": (24, 16), "down": (16, 24)}
    biases = {"gate_bias": (24,), "up_bias": (24,), "down_bias": (16,)}
    return {
        name: random.normal(size=shape).astype(np.float32) for name, shape in {**shapes, **biases}.items()
    }


@pytest.mark.parametrize("activation", EXPECTED)
def test_activations(activation: str) -> None:
    alpha = ALPHA if "activation_alpha" in ACTIVATION_ATTRIBUTES.get(activation, ()) else {}
    got = activate(np.array(POINTS, np.float32), activation, **alpha)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, EXPECTED[activation], rtol=1e-6, atol=1e-7)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="activation is 'swish'"):
        activate(np.zeros(1, np.float32), "swish")


def test_clamped_swish_is_its_formula() -> None:
    p = weights()
    x = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    gate = np.minimum(x @ p["gate"].T + p["gate_bias"], 0.5)
    up = np.clip(x @ p["up"].T + p["up_bias"], -0.5, 0.5)
    assert (gate == 0.5).any() and (up == -0.5).any()
    h = gate / (1 + np.exp(-1.7 * gate)) * (up + 1)
    got = expert(
        x,
        activation="clamped_swish",
        transpose_weight=True,
        activation_alpha=1.7,
        activation_beta=1.0,
        activation_limit=0.5,
        **p,
    )
    np.testing.assert_allclose(got, h @ p["down"].T + p["down_bias"], rtol=1e-5, atol=1e-5)


def test_softcapped_swish_is_its_formula() -> None:
    p = weights()
    x = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    gate, up = x @ p["gate"].T + p["gate_bias"], x @ p["up"].T + p["up_bias"]
    h = 4 * np.tanh(gate / 4) / (1 + np.exp(-gate)) * 2.5 * np.tanh(up / 2.5)
    caps = {"activation_gate_cap": 4.0, "activation_up_cap": 2.5}
    got = expert(x, activation="softcapped_swish", transpose_weight=True, **caps, **p)
    np.testing.assert_allclose(got, h @ p["down"].T + p["down_bias"], rtol=1e-4, atol=1e-4)


def test_clamped_swish_needs_a_gate() -> None:
    p = {name: value for name, value in weights().items() if not name.startswith("gate")}
    with pytest.raises(InvalidInputError, match="with a gate"):
        expert(np.zeros((1, 16), np.float32), None, activation="clamped_swish", transpose_weight=True, **p)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("transpose_weight", [True, False])
def test_the_digital_expert_is_its_formula(gated: bool, transpose_weight: bool) -> None:
    p = weights()
    x = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    up = x @ p["up"].T + p["up_bias"]
    gate = x @ p["gate"].T + p["gate_bias"]
    h = np.maximum(gate, 0) * up if gated else np.maximum(up, 0)
    expected = h @ p["down"].T + p["down_bias"]
    gate_weight, up_weight, down_weight = (
        p[name] if transpose_weight else p[name].T for name in ("gate", "up", "down")
    )
    got = expert(
        x,
        gate_weight if gated else None,
        up_weight,
        down_weight,
        "relu",
        transpose_weight=transpose_weight,
        gate_bias=p["gate_bias"] if gated else None,
        up_bias=p["up_bias"],
        down_bias=p["down_bias"],
    )
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["converters", "noisy"])
def test_the_analog_expert_is_three_analog_products(mode: str) -> None:
    p = weights()
    x = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    crossbar = Crossbar(mode, tile_rows=10, **NOISE)
    gate, up = (
        analog_matmul(x, p[name], crossbar, stream, transpose_weight=True) + p[f"{name}_bias"]
        for name, stream in (("gate", 4), ("up", 5))
    )
    h = activate(gate, "silu") * up
    expected = analog_matmul(h, p["down"], crossbar, 6, transpose_weight=True) + p["down_bias"]
    p_down = p.pop("down")
    got = analog_expert(
        x,
        p.pop("gate"),
        p.pop("up"),
        p_down,
        crossbar,
        (4, 5, 6),
        "silu",
        transpose_weight=True,
        **p,
    )
    np.testing.assert_array_equal(got, expected)


def test_each_projection_draws_from_its_own_stream() -> None:
    p = weights()
    x = np.ones((1, 16), np.float32)
    crossbar = Crossbar("noisy", **NOISE)
    results = [
        analog_expert(x, p["gate"], p["up"], p["down"], crossbar, streams, "silu", transpose_weight=True)
        for streams in ((0, 1, 2), (9, 1, 2), (0, 9, 2), (0, 1, 9))
    ]
    assert len({result.tobytes() for result in results}) == 4


def test_the_intermediate_is_float32_for_16_bit_inputs() -> None:
    p = weights()
    x = np.random.default_rng(1).normal(size=(5, 16)).astype(ml_dtypes.bfloat16)
    narrow, wide = (
        analog_expert(
            values,
            p["gate"],
            p["up"],
            p["down"],
            Crossbar("converters"),
            (0, 1, 2),
            "silu",
            transpose_weight=True,
        )
        for values in (x, x.astype(np.float32))
    )
    assert narrow.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(narrow, wide.astype(ml_dtypes.bfloat16))


def test_calibrated_inputs_reach_their_projection() -> None:
    p = weights()
    x = np.random.default_rng(1).normal(size=(2, 16)).astype(np.float32)
    ones, bound = np.ones(1, np.float32), np.full((1, 1), 20.0, np.float32)
    plain = {"gate": p["gate"], "up": p["up"], "down": p["down"]}
    crossbar = Crossbar("noisy", **NOISE)
    calibrations: dict[str, dict[str, Any]] = {
        "none": {},
        "in_range": {"in_range": ones},
        "mid_range": {"mid_range": ones},
        **{f"{part}_adc_bound": {f"{part}_adc_bound": bound} for part in plain},
        **{f"{part}_weight_scale": {f"{part}_weight_scale": bound} for part in plain},
    }
    results = {
        analog_expert(
            x,
            **plain,
            crossbar=crossbar,
            streams=(0, 1, 2),
            activation="silu",
            transpose_weight=True,
            **given,
        ).tobytes()
        for given in calibrations.values()
    }
    assert len(results) == len(calibrations)
