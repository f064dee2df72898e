"""The torch products and programmed weights against the NumPy reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from equality import assert_adc_equal, assert_mostly_equal, assert_programmed_equal
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from hetc.base.errors import InvalidInputError  # noqa: E402
from hetc.hardware.noise_models import NOISE_MODELS  # noqa: E402
from hetc.hardware.profile import Profile  # noqa: E402
from hetc.runtimes.reference import Crossbar, convert, program, split, standard_normals  # noqa: E402
from hetc.runtimes.reference import analog_matmul as reference_matmul  # noqa: E402
from hetc.runtimes.reference.programming import weight_scale  # noqa: E402
from hetc.runtimes.reference.settings import crossbar_of  # noqa: E402
from hetc.runtimes.torch.crossbar import Placed, analog_matmul, place  # noqa: E402

PROFILE = Profile(tile_rows=50, tile_columns=20)
DAY = 86400.0


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def check(w: np.ndarray, x: np.ndarray, crossbar: Crossbar, **inputs: Any) -> None:
    """`w [N, K]`; inputs as for the reference, per column where it takes a bound."""
    factors = inputs.pop("adc_bound", None)
    placed = place([Placed(torch.from_numpy(w), 3, factors)], crossbar, inputs.get("input_range"))
    actual = analog_matmul(torch.from_numpy(x), placed).numpy()
    if factors is not None:
        slices = split(w.shape[1], crossbar.tile_rows)
        scales = np.stack([weight_scale(np.ascontiguousarray(w.T[part]), crossbar) for part in slices])
        inputs["adc_bound"] = np.array(factors, np.float32)[:, None] * scales
    if "input_range" in inputs:
        inputs["input_range"] = np.array(inputs["input_range"], np.float32)
    assert_adc_equal(actual, convert(x, w, crossbar, 3, transpose_weight=True, **inputs))


@settings(max_examples=40, deadline=None)
@given(
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 20),
    rows=st.integers(0, 5),
    tile=st.integers(1, 50),
    dac_bits=st.sampled_from([0, 4, 8, 12]),
    adc_bits=st.sampled_from([0, 6, 8]),
    mode=st.sampled_from(["converters", "noisy"]),
    scale_mode=st.sampled_from(["column", "tile"]),
    static=st.booleans(),
)
def test_any_shape_and_converter(
    inputs: int,
    outputs: int,
    rows: int,
    tile: int,
    dac_bits: int,
    adc_bits: int,
    mode: str,
    scale_mode: str,
    static: bool,
) -> None:
    profile = Profile(
        tile_rows=tile, tile_columns=7, dac_bits=dac_bits, adc_bits=adc_bits, scale_mode=scale_mode
    )
    count = len(split(inputs, tile))
    ranges = {"input_range": [1.5] * count, "adc_bound": [4.0] * count} if static else {}
    w, x = random(outputs, inputs), random(rows, inputs, seed=1)
    check(w, x, crossbar_of(profile, mode, store="float32", seed=5), **ranges)


def test_bound_management_widens_the_vectors_that_clip() -> None:
    profile = replace(PROFILE, out_bound=0.4, bound_management="iterative")
    w, x = np.abs(random(30, 120)), random(9, 120, seed=1)
    x[:4] = np.abs(x[:4])
    check(w, x, crossbar_of(profile, "converters"))


@pytest.mark.parametrize("mode_of_weights", ["pcm", "clean"])
@pytest.mark.parametrize(
    "changes",
    [
        {"output_noise": 0.04},
        {"weight_noise": 0.02},
        {"weight_noise": 0.02, "weight_noise_form": "pcm-read", "output_noise": 0.01},
        {"ir_drop": 40.0},
        {"dac_rounding": "stochastic"},
        {
            "dac_rounding": "stochastic",
            "output_noise": 0.04,
            "bound_management": "iterative",
            "out_bound": 0.4,
        },
        {"weight_noise": 0.02, "ir_drop": 1.0, "scale_mode": "tile", "adc_bits": 0},
        {"weight_noise": 0.02, "dac_bits": 0},
    ],
)
def test_noise_of_products(changes: dict[str, Any], mode_of_weights: str) -> None:
    crossbar = crossbar_of(replace(PROFILE, **changes), "noisy", store="float32", read_seed=2**31 - 1)
    if mode_of_weights == "clean":
        crossbar = replace(crossbar, noise_form="none")
    w, x = random(30, 120), random(9, 120, seed=1)
    w[7] = 0
    check(w, x, crossbar)


@pytest.mark.parametrize("side", ["digital_inputs", "digital_outputs"])
def test_noise_of_products_beside_digital_neurons(side: str) -> None:
    profile = replace(PROFILE, output_noise=0.04, ir_drop=40.0, dac_rounding="stochastic", scale_mode="tile")
    crossbar = crossbar_of(profile, "noisy")
    w, x = random(30, 120), random(9, 120, seed=1)
    digital = {side: np.random.default_rng(0).random(120 if side == "digital_inputs" else 30) < 0.4}
    digital[side][: len(digital[side]) // 2] = True
    actual = analog_matmul(torch.from_numpy(x), place([Placed(torch.from_numpy(w), 3, **digital)], crossbar))
    expected = reference_matmul(x, w, crossbar, 3, transpose_weight=True, **digital)
    assert_mostly_equal(actual.numpy(), expected)


def test_noise_of_products_belongs_to_the_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are drawn at once, and with matrices that share the last one's DAC."""
    changes: dict[str, Any] = {"output_noise": 0.04, "dac_rounding": "stochastic"}
    crossbar = crossbar_of(replace(PROFILE, **changes), "noisy", store="float32")
    weights, x = [random(30, 120, seed=seed) for seed in (1, 2)], random(7, 120)
    placed = place(
        [Placed(torch.from_numpy(weights[0]), 1), Placed(torch.from_numpy(weights[1]), 2)], crossbar
    )
    together = analog_matmul(torch.from_numpy(x), placed)
    for index, (w, y) in enumerate(zip(weights, together.chunk(2, -1), strict=True)):
        assert_adc_equal(y.numpy(), convert(x, w, crossbar, index + 1, transpose_weight=True, dac_stream=2))
    monkeypatch.setattr("hetc.runtimes.torch.crossbar.MOST_DRAWS", 150)
    apart = analog_matmul(torch.from_numpy(x).reshape(7, 1, 120), placed).reshape(7, -1)
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-6)


def test_rows_that_are_not_finite_spoil_themselves_alone() -> None:
    x = random(4, 120)
    x[1, 3], x[2, 70] = np.nan, np.inf
    check(random(30, 120), x, crossbar_of(PROFILE, "converters"), input_range=[1.0] * 3)


def test_empty_columns_contribute_nothing() -> None:
    w = random(30, 120)
    w[7] = 0
    crossbar = crossbar_of(PROFILE, "noisy")
    check(w, random(4, 120), crossbar)
    placed = place([Placed(torch.from_numpy(w), 3)], crossbar)
    assert not analog_matmul(torch.ones(2, 120), placed)[:, 7].any()


@pytest.mark.parametrize("store", ["bfloat16", "int8", "float32"])
@pytest.mark.parametrize("name", NOISE_MODELS)
def test_programmed_weights_are_the_references(name: str, store: str) -> None:
    model = NOISE_MODELS[name]
    changes: dict[str, Any] = {}
    if model.drift_mean:
        changes = {"drift_time": DAY, "drift_compensation": "column", "flicker_noise": 1.0}
    elif model.times:
        changes = {"drift_time": model.times[-1]}
    profile = replace(PROFILE, noise=model, noise_scale=1.5, **changes)
    crossbar = crossbar_of(profile, "noisy", store=store, seed=2**40 + 3, read_seed=2)
    w = random(70, 130)
    actual = program(torch.from_numpy(w), crossbar, 9, transpose_weight=True)
    expected = program(w, crossbar, 9, transpose_weight=True)
    assert_programmed_equal(actual.numpy(), expected, store, rows=split(130, 50))
    check(w, random(6, 130, seed=2), crossbar)


def test_draws_are_the_references() -> None:
    rows, columns = np.arange(300), np.arange(200)
    theirs = standard_normals(torch.from_numpy(rows), torch.from_numpy(columns), 2**31 - 1, 2**63 - 1)
    for actual, expected in zip(theirs, standard_normals(rows, columns, 2**31 - 1, 2**63 - 1), strict=True):
        np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_matrices_side_by_side_are_what_each_is_alone() -> None:
    weights, x = [torch.from_numpy(random(30, 120, seed=seed)) for seed in (1, 2)], torch.randn(5, 120)
    crossbar = crossbar_of(PROFILE, "noisy")
    together = analog_matmul(x, place([Placed(weights[0], 1), Placed(weights[1], 2)], crossbar))
    alone = [analog_matmul(x, place([Placed(w, s)], crossbar)) for w, s in zip(weights, (1, 2), strict=True)]
    torch.testing.assert_close(together, torch.cat(alone, -1), rtol=0, atol=0)


def test_weights_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="stream 4 hold NaN"):
        place([Placed(torch.full((3, 5), torch.nan), 4)], crossbar_of(PROFILE, "noisy"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_computes_the_same() -> None:
    w, x, crossbar = random(300, 1200), random(40, 1200, seed=1), crossbar_of(Profile(), "noisy")
    placed = place([Placed(torch.from_numpy(w).cuda(), 3)], crossbar)
    assert placed.conductances.dtype == torch.bfloat16
    actual = analog_matmul(torch.from_numpy(x).cuda(), placed).cpu().numpy()
    assert_adc_equal(actual, convert(x, w, crossbar, 3, transpose_weight=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_draws_the_same_noise_of_products() -> None:
    loud: dict[str, Any] = {"output_noise": 0.04, "weight_noise": 0.02, "weight_noise_form": "pcm-read"}
    profile = replace(PROFILE, ir_drop=1.0, dac_rounding="stochastic", **loud)
    w, x, crossbar = random(30, 120), random(9, 120, seed=1), crossbar_of(profile, "noisy", store="float32")
    placed = place([Placed(torch.from_numpy(w).cuda(), 3)], crossbar)
    actual = analog_matmul(torch.from_numpy(x).cuda(), placed).cpu().numpy()
    assert_adc_equal(actual, convert(x, w, crossbar, 3, transpose_weight=True))


@settings(max_examples=30, deadline=None)
@given(
    chosen=st.lists(st.booleans(), min_size=40, max_size=40),
    side=st.sampled_from(["digital_inputs", "digital_outputs"]),
    mode=st.sampled_from(["converters", "noisy"]),
    scale_mode=st.sampled_from(["column", "tile"]),
)
def test_digital_inputs_and_outputs(chosen: list[bool], side: str, mode: str, scale_mode: str) -> None:
    w, x = random(12, 40), random(4, 40, seed=1)
    digital = {side: np.array(chosen[: 40 if side == "digital_inputs" else 12])}
    profile = Profile(tile_rows=15, tile_columns=7, scale_mode=scale_mode, adc_bits=0, dac_bits=8)
    crossbar = crossbar_of(profile, mode, store="float32", seed=5)
    actual = analog_matmul(torch.from_numpy(x), place([Placed(torch.from_numpy(w), 3, **digital)], crossbar))
    expected = reference_matmul(x, w, crossbar, 3, transpose_weight=True, **digital)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-4, atol=1e-4)
    converted = replace(crossbar, adc_bits=8)
    actual = analog_matmul(torch.from_numpy(x), place([Placed(torch.from_numpy(w), 3, **digital)], converted))
    expected = reference_matmul(x, w, converted, 3, transpose_weight=True, **digital)
    assert_mostly_equal(actual.numpy(), expected, share=0.1)
