"""Digital inputs and outputs in the reference: what leaves the crossbars, and what stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hetc.runtimes.reference import Crossbar, analog_expert, analog_matmul, expert, lay_out, program
from hetc.runtimes.reference.programming import program_slices

PAIR: dict[str, Any] = {"noise_form": "differential-pair", "noise_sigma": (0.01, 0.05)}
SETTINGS = {
    "converters": Crossbar("converters", tile_rows=5, tile_columns=4),
    "noisy": Crossbar("noisy", tile_rows=5, tile_columns=4, **PAIR),
    "drifted": Crossbar(
        "noisy",
        tile_rows=5,
        tile_columns=4,
        drift_time=3600.0,
        drift_mean=(0, 0, 1, 0, 0, 0, 0.05, 0, 0, 0),
        drift_deviation=(0, 0, 1, 0, 0, 0, 0.01, 0, 0, 0),
        drift_compensation="global",
        scale_mode="tile",
        **PAIR,
    ),
    "disturbed": Crossbar(
        "noisy", tile_rows=5, output_noise=0.1, weight_noise=0.1, ir_drop=1.0, bound_management="iterative"
    ),
}


def inputs(seed: int, rows: int = 4, k: int = 13, n: int = 9) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, k)).astype(np.float32), random.normal(size=(n, k)).astype(np.float32)


def product(x: np.ndarray, w: np.ndarray, crossbar: Crossbar, **digital: np.ndarray) -> np.ndarray:
    return analog_matmul(x, w, crossbar, 3, transpose_weight=True, **digital)


@pytest.mark.parametrize("name", SETTINGS)
def test_none_digital_is_as_before_and_all_digital_is_exact(name: str) -> None:
    x, w = inputs(0)
    none, every = np.zeros(13, bool), np.ones(13, bool)
    np.testing.assert_array_equal(
        product(x, w, SETTINGS[name], digital_inputs=none), product(x, w, SETTINGS[name])
    )
    exact = product(x, w, Crossbar("exact"))
    np.testing.assert_array_equal(product(x, w, SETTINGS[name], digital_inputs=every), exact)
    np.testing.assert_array_equal(product(x, w, SETTINGS[name], digital_outputs=np.ones(9, bool)), exact)


@given(st.lists(st.booleans(), min_size=9, max_size=9))
def test_digital_outputs_are_exact_and_leave_the_other_columns_alone(chosen: list[bool]) -> None:
    x, w = inputs(1)
    digital = np.array(chosen)
    crossbar = SETTINGS["noisy"]
    y = product(x, w, crossbar, digital_outputs=digital)
    np.testing.assert_array_equal(y[:, digital], product(x, w, Crossbar("exact"))[:, digital])
    np.testing.assert_array_equal(y[:, ~digital], product(x, w, crossbar)[:, ~digital])


@given(st.lists(st.booleans(), min_size=13, max_size=13))
def test_digital_inputs_leave_what_zeros_would(chosen: list[bool]) -> None:
    x, w = inputs(2)
    digital = np.array(chosen)
    y = product(x, w, SETTINGS["converters"], digital_inputs=digital)
    analog = product(np.where(digital, 0, x), np.where(digital, 0, w), SETTINGS["converters"])
    exact = x[:, digital].astype(np.float64) @ w[:, digital].T.astype(np.float64)
    np.testing.assert_allclose(y, analog + exact, atol=1e-6)


def test_a_digital_outlier_lowers_the_scale_and_changes_no_draw() -> None:
    w = inputs(3)[1].T
    outlier = np.zeros(13, bool)
    outlier[2] = True
    w[2] = 50
    crossbar = Crossbar("noisy", tile_rows=5, store="float32", **PAIR)
    part = ~outlier
    before = program(w, crossbar, 3, transpose_weight=False)[:5] - w[:5]
    after = (
        program_slices(w, crossbar, 3, layout=lay_out(13, 9, 5, 512, outlier))[0].weights - w[:5][part[:5]]
    )
    assert np.abs(after).mean() < 0.5 * np.abs(before[part[:5]]).mean()
    same = program_slices(w, crossbar, 3, np.full((3, 1), 50, np.float32), lay_out(13, 9, 5, 512, outlier))
    np.testing.assert_array_equal(same[0].weights - w[:5][part[:5]], before[part[:5]])


@pytest.mark.parametrize("name", SETTINGS)
def test_a_value_that_is_not_finite_spoils_its_row_digital_or_not(name: str) -> None:
    x, w = inputs(4)
    digital = np.zeros(13, bool)
    digital[[1, 5]] = True
    x[1, 5], x[2, 6] = np.nan, np.inf
    y = product(x, w, SETTINGS[name], digital_inputs=digital)
    np.testing.assert_array_equal(np.isnan(y).all(axis=1), [False, True, True, False])
    np.testing.assert_array_equal(y[0], product(x[:1], w, SETTINGS[name], digital_inputs=digital)[0])


@pytest.mark.parametrize("name", SETTINGS)
def test_an_expert_is_its_neurons(name: str) -> None:
    random = np.random.default_rng(5)
    x = random.normal(size=(3, 8)).astype(np.float32)
    gate, up = (random.normal(size=(11, 8)).astype(np.float32) for _ in range(2))
    down = random.normal(size=(8, 11)).astype(np.float32)
    run: dict[str, Any] = {"transpose_weight": True}
    exact = expert(x, gate, up, down, "silu", **run)
    streams = (0, 1, 2)
    every = np.ones(11, bool)
    all_digital = analog_expert(
        x, gate, up, down, SETTINGS[name], streams, "silu", digital_neurons=every, **run
    )
    np.testing.assert_array_equal(all_digital, exact)
    error = [
        np.abs(
            analog_expert(
                x, gate, up, down, SETTINGS[name], streams, "silu", digital_neurons=np.arange(11) < k, **run
            )
            - exact
        ).mean()
        for k in (0, 6, 10)
    ]
    assert error[0] > error[1] > error[2] > 0
