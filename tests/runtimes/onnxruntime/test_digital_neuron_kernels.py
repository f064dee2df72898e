"""Digital neurons in the kernels: equivalences with whole nodes, and the NumPy reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from digital_neurons import assert_neurons_equal, rank_neurons
from equality import assert_mostly_equal
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_runs import MATMUL, NOISY, crossbar, device, open_kernel, run_kernel, run_matmul
from programmings import programmings
from single_node import ANALOG_ATTRIBUTES, single_node_model

from hetc.runtimes.reference import analog_expert

FLOAT32 = {"hetc.store": "float32"}
PROBE = {"dac_bits": 0, "adc_bits": 0}
STREAMS = {"gate_stream": 4, "up_stream": 5, "down_stream": 6, "activation": "silu"}
UNIT = MATMUL["unit"]


def matrices(rows: int, inputs: int, outputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x [rows, inputs] and w [outputs, inputs]."""
    random = np.random.default_rng(seed)
    x, w = random.normal(size=(rows, inputs)), random.normal(size=(outputs, inputs))
    return x.astype(np.float32), w.astype(np.float32)


def some(count: int, share: float, seed: int = 1) -> np.ndarray:
    """Bools, about that share of them true."""
    return np.random.default_rng(seed).random(count) < share


def run_neurons(
    x: np.ndarray,
    w: np.ndarray,
    attributes: dict[str, Any],
    config: dict[str, str] | None = None,
    digital_inputs: np.ndarray | None = None,
    digital_outputs: np.ndarray | None = None,
    **given: np.ndarray,
) -> np.ndarray:
    """AnalogMatMul with these inputs and outputs digital."""
    masks = {"input_rank": digital_inputs, "output_rank": digital_outputs}
    ranks, group = rank_neurons(**{name: mask for name, mask in masks.items() if mask is not None})
    return run_matmul(x, w, {**attributes, **group}, config, threads=2, **ranks, **given)


PRODUCTS: dict[str, dict[str, Any]] = {
    "converters": {"mode": "converters"},
    "programmed": {},
    "gaussian": {"noise_form": "gaussian"},
    "output": {"output_noise": 0.04},
    "additive": {"weight_noise": 0.02, "weight_noise_form": "additive"},
    "pcm-read": {"weight_noise": 0.0175, "weight_noise_form": "pcm-read"},
    "clean pcm-read": {"weight_noise": 0.0175, "weight_noise_form": "pcm-read", "noise_form": "none"},
    "ir-drop": {"ir_drop": 1.0},
    "stochastic": {"dac_rounding": "stochastic"},
    "bounds": {"bound_management": "iterative", "out_bound": 0.5},
    "tile-scale": {"scale_mode": "tile", "tile_columns": 24},
    "drift": {**device("pcm"), "drift_time": 1e6, "drift_compensation": "global", "tile_columns": 24},
    "drifted column": {**device("pcm"), "drift_time": 1e6, "drift_compensation": "column"},
    "flicker": {**device("pcm"), "flicker_noise": 1.0},
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_nothing_digital_is_the_node_without_ranks(name: str) -> None:
    x, w = matrices(7, 150, 90)
    attributes = {**NOISY, **PRODUCTS[name], "tile_rows": 64}
    none = {"digital_inputs": np.zeros(150, bool), "digital_outputs": np.zeros(90, bool)}
    np.testing.assert_array_equal(run_neurons(x, w, attributes, **none), run_matmul(x, w, attributes))


@pytest.mark.parametrize("name", PRODUCTS)
def test_everything_digital_is_exact(name: str) -> None:
    x, w = matrices(7, 150, 90)
    x[3, 7] = np.inf
    attributes = {**NOISY, **PRODUCTS[name], "tile_rows": 64}
    exact = run_matmul(x, w, {"mode": "exact"})
    every: dict[str, Any] = {"digital_inputs": np.ones(150, bool), "digital_outputs": np.ones(90, bool)}
    np.testing.assert_array_equal(run_neurons(x, w, attributes, **every), exact)
    for side, mask in every.items():
        np.testing.assert_array_equal(run_neurons(x, w, attributes, **{side: mask}), exact)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.95])
@pytest.mark.parametrize("name", sorted(set(PRODUCTS) - {"tile-scale", "drift", "bounds"}))
def test_digital_outputs_change_no_bit_of_the_others(name: str, share: float) -> None:
    x, w = matrices(7, 150, 200)
    attributes = {**NOISY, **PRODUCTS[name], "tile_rows": 64}
    digital = some(200, share)
    y = run_neurons(x, w, attributes, digital_outputs=digital)
    np.testing.assert_array_equal(y[:, ~digital], run_matmul(x, w, attributes)[:, ~digital])
    np.testing.assert_array_equal(y[:, digital], run_matmul(x, w, {"mode": "exact"})[:, digital])


def test_digital_inputs_leave_a_smaller_matrix() -> None:
    x, w = matrices(7, 150, 200)
    digital = some(150, 0.3)
    attributes = {"mode": "converters", "tile_rows": 200}
    y = run_neurons(x, w, attributes, digital_inputs=digital)
    analog = run_matmul(x[:, ~digital], np.ascontiguousarray(w[:, ~digital]), attributes)
    exact = run_matmul(x[:, digital], np.ascontiguousarray(w[:, digital]), {"mode": "exact"})
    np.testing.assert_array_equal(y, analog + exact)


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("adc_bits", [0, 8])
@pytest.mark.parametrize("name", PRODUCTS)
def test_reference(name: str, adc_bits: int, calibrated: bool) -> None:
    x, w = matrices(7, 150, 200)
    x[2], x[3, 40], x[4, 41] = 0, np.inf, np.nan
    w[5] = 0
    inputs, outputs = some(150, 0.3), some(200, 0.2)
    inputs[[40, 41]] = [True, False]
    inputs[50:100] = True  # a slice without analog inputs
    attributes = {**NOISY, **PRODUCTS[name], "tile_rows": 50, "adc_bits": adc_bits}
    constants = {}
    if calibrated:
        constants["input_range"] = np.array([1.5, 2, 2.5], np.float32)
        constants["weight_scale"] = np.full((3, 1), 3, np.float32)
    y = run_neurons(x, w, attributes, FLOAT32, inputs, outputs, **constants)
    assert_neurons_equal(y, x, w, crossbar(attributes, "float32"), inputs, outputs, **constants)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("mode", ["converters", "noisy"])
def test_types_and_orientations(mode: str, dtype: Any, transposed: int) -> None:
    x, w = matrices(5, 150, 100)
    x, w = x.astype(dtype), np.ascontiguousarray((w if transposed else w.T).astype(dtype))
    inputs, outputs = some(150, 0.4), some(100, 0.4)
    attributes = {**NOISY, "mode": mode, "transpose_weight": transposed, "tile_rows": 64}
    y = run_neurons(x, w, attributes, FLOAT32, inputs, outputs)
    reference = crossbar(attributes, "float32")
    assert_neurons_equal(y, x, w, reference, inputs, outputs, transpose_weight=bool(transposed), dtype=dtype)


@pytest.mark.parametrize("store", ["bfloat16", "int8"])
@pytest.mark.parametrize("rows", [1, 40])
def test_narrow_stores(store: str, rows: int) -> None:
    """Without noise, what is left of a matrix is stored as a smaller matrix is."""
    x, w = matrices(rows, 300, 200)
    inputs, outputs = some(300, 0.3), some(200, 0.3)
    scale = np.full((1, 1), 5, np.float32)
    attributes = {**NOISY, "tile_rows": 300, "noise_form": "gaussian", "noise_sigma": [0.0]}
    y = run_neurons(x, w, attributes, {"hetc.store": store}, inputs, outputs, weight_scale=scale)
    left = np.ascontiguousarray(w[~outputs][:, ~inputs])
    analog = run_matmul(x[:, ~inputs], left, attributes, {"hetc.store": store}, weight_scale=scale)
    exact = run_matmul(x[:, inputs], np.ascontiguousarray(w[~outputs][:, inputs]), {"mode": "exact"})
    np.testing.assert_array_equal(y[:, ~outputs], analog + exact)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 20),
    count=st.tuples(st.integers(1, 300), st.integers(1, 200)),
    shares=st.tuples(st.sampled_from([0, 0.05, 0.5, 0.9, 1]), st.sampled_from([0, 0.05, 0.5, 0.9, 1])),
    tile_rows=st.integers(1, 310),
    transposed=st.booleans(),
    name=st.sampled_from(sorted(PRODUCTS)),
    per_column=st.booleans(),
    calibrated=st.sets(st.sampled_from(["input_range", "adc_bound", "weight_scale"])),
)
def test_any_shape_and_inputs(
    seed: int,
    rows: int,
    count: tuple[int, int],
    shares: tuple[float, float],
    tile_rows: int,
    transposed: bool,
    name: str,
    per_column: bool,
    calibrated: set[str],
) -> None:
    x, w = matrices(rows, *count, seed)
    w = w if transposed else np.ascontiguousarray(w.T)
    random = np.random.default_rng(seed)
    inputs, outputs = (random.random(n) < share for n, share in zip(count, shares, strict=True))
    if inputs.all() and outputs.all():
        inputs[0] = False
    slices, columns = -(-count[0] // tile_rows), count[1] if per_column else 1
    shapes = {
        "input_range": ((slices,), 1.0),
        "adc_bound": ((slices, columns), 5.0),
        "weight_scale": ((slices, columns), 2.0),
    }
    constants = {
        key: (size * random.uniform(0.5, 2, shape)).astype(np.float32)
        for key, (shape, size) in shapes.items()
        if key in calibrated
    }
    attributes = {**NOISY, **PRODUCTS[name], "tile_rows": tile_rows, "transpose_weight": int(transposed)}
    y = run_neurons(x, w, attributes, FLOAT32, inputs, outputs, **constants)
    reference = crossbar(attributes, "float32")
    assert_neurons_equal(y, x, w, reference, inputs, outputs, transpose_weight=transposed, **constants)


def expert(dtype: Any = np.float32, transposed: int = 1, gated: bool = True) -> dict[str, Any]:
    random = np.random.default_rng(0)
    values: dict[str, Any] = {}
    for name, shape in {"gate": (170, 90), "up": (170, 90), "down": (90, 170)}.items():
        matrix = random.normal(size=shape) / np.sqrt(shape[1])
        values[name] = np.ascontiguousarray((matrix if transposed else matrix.T).astype(dtype))
        values[f"{name}_bias"] = (0.1 * random.normal(size=shape[0])).astype(np.float32)
    return values if gated else {**values, "gate": None, "gate_bias": None}


def expert_model(
    x: np.ndarray, values: dict[str, Any], digital: np.ndarray, **attributes: Any
) -> tuple[Any, dict[str, Any]]:
    """The model of an AnalogExpert with these neurons digital, and its attributes."""
    ranks, group = rank_neurons(neuron_rank=digital)
    merged = {**ANALOG_ATTRIBUTES, **NOISY, **STREAMS, "tile_rows": 60, **group, **attributes}
    return single_node_model("AnalogExpert", x, {**values, **ranks}, merged), merged


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("mode", ["converters", "noisy"])
def test_expert(mode: str, gated: bool, dtype: Any, transposed: int) -> None:
    x, values = matrices(20, 90, 1)[0], expert(dtype, transposed, gated)
    digital = some(170, 0.3)
    changes = {} if gated else {"gate_stream": -1}
    model, attributes = expert_model(x, values, digital, mode=mode, transpose_weight=transposed, **changes)
    matrices_ = [values.pop(name) for name in ("gate", "up", "down")]
    expected = analog_expert(
        x,
        *matrices_,
        crossbar(attributes, "float32"),
        tuple(attributes[f"{name}_stream"] for name in ("gate", "up", "down")),
        "silu",
        transpose_weight=bool(transposed),
        digital_neurons=digital,
        **values,
    )
    assert_mostly_equal(run_kernel(model, x, FLOAT32, 2), expected)


@pytest.mark.parametrize("name", sorted(set(PRODUCTS) - {"stochastic"}))  # whose DAC gate and up share
def test_expert_of_three_products(name: str) -> None:
    """Through relu, which rounds nothing, the fused kernel and three AnalogMatMul agree in every bit."""
    x, values = matrices(7, 90, 1)[0], expert()
    digital = some(170, 0.3)
    shared = {**NOISY, **PRODUCTS[name], "tile_rows": 60}
    plain = {key: values[key] for key in ("gate", "up", "down")}
    model, _ = expert_model(x, plain, digital, **shared, activation="relu")
    gate, up = (
        run_neurons(x, values[key], {**shared, "stream": STREAMS[f"{key}_stream"]}, digital_outputs=digital)
        for key in ("gate", "up")
    )
    h = np.maximum(gate, 0) * up
    y = run_neurons(h, values["down"], {**shared, "stream": 6}, digital_inputs=digital)
    np.testing.assert_array_equal(run_kernel(model, x), y)


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("store", ["bfloat16", "int8"])
def test_threads_and_batches_change_no_bit(store: str, name: str) -> None:
    x, values = matrices(150, 90, 1)[0], expert()
    model, _ = expert_model(x, values, some(170, 0.3), **PRODUCTS[name])
    whole = run_kernel(model, x, {"hetc.store": store})
    session = open_kernel(model, {"hetc.store": store}, threads=2)
    parts = [session.run(None, {"x": x[start : start + 11]})[0] for start in range(0, len(x), 11)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_batches_change_no_bit_of_a_product() -> None:
    x, w = matrices(150, 130, 100)
    ranks, group = rank_neurons(input_rank=some(130, 0.4), output_rank=some(100, 0.4))
    model = single_node_model("AnalogMatMul", x, {"w": w, **ranks}, {**MATMUL, **NOISY, **group})
    whole = run_kernel(model, x)
    session = open_kernel(model, threads=2)
    parts = [session.run(None, {"x": x[start : start + 11]})[0] for start in range(0, len(x), 11)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("fraction", ["0.25", "1/3", "1"])
def test_fraction_of_the_session_is_a_compiled_count(fraction: str) -> None:
    x, values = matrices(9, 90, 1)[0], expert()
    rank = np.random.default_rng(3).permutation(170).astype(np.int32)
    group = {"rank": 169, "group_size": 170}
    attributes = {**ANALOG_ATTRIBUTES, **NOISY, **STREAMS, "tile_rows": 60, **group}
    count = int(np.floor(eval(fraction) * 170 + 0.5))
    constants = {**values, "neuron_rank": rank}
    compiled = single_node_model("AnalogExpert", x, constants, {**attributes, "digital_count": count})
    model = single_node_model("AnalogExpert", x, constants, attributes)
    by_session = run_kernel(model, x, {"hetc.digital_frac": fraction})
    np.testing.assert_array_equal(by_session, run_kernel(compiled, x))
    assert not np.array_equal(by_session, run_kernel(model, x))
    exact = run_kernel(model, x, {"hetc.mode": "exact"})
    assert np.array_equal(by_session, exact) == (count == 170)
    with pytest.raises(Exception, match=f"keeps 0 of 170 digital, but {count} were compiled"):
        open_kernel(compiled, {"hetc.digital_frac": "0"})


def test_without_a_group_no_fraction_moves_a_neuron() -> None:
    x, values = matrices(9, 90, 1)[0], expert()
    digital = some(170, 0.3)
    model, _ = expert_model(x, values, digital)
    fixed, _ = expert_model(x, values, digital, group_size=0, rank=0)
    for fraction in ("0", "0.5", "1"):
        y = run_kernel(fixed, x, {"hetc.digital_frac": fraction})
        np.testing.assert_array_equal(y, run_kernel(model, x))


def test_an_infinite_intermediate_value_spoils_its_row() -> None:
    """Also where it alone would make the result infinite; silu of far below 0 is 0, which spoils nothing."""
    values, digital = expert(), some(170, 0.3)
    neuron = np.flatnonzero(digital)[0]
    values["gate"][neuron] = values["up"][neuron] = 1e25
    values["down"][:, neuron] = 1
    x = np.stack([np.full(90, 0.1), np.full(90, -0.1), matrices(1, 90, 1)[0][0]]).astype(np.float32)
    x[2, 3] = np.nan
    model, _ = expert_model(x, values, digital)
    np.testing.assert_array_equal(np.isnan(run_kernel(model, x)).all(axis=1), [True, False, True])
    assert np.isfinite(run_kernel(model, x)[1]).all()


def test_what_is_analog_is_part_of_a_programmed_copy_s_name() -> None:
    x, w = matrices(3, 64, 80, seed=11)
    masks = [np.zeros(80, bool) for _ in range(3)]
    masks[1][3], masks[2][4] = True, True
    results = []
    sessions = []
    before = programmings()
    for mask in (*masks, masks[1]):
        ranks, group = rank_neurons(output_rank=mask)
        model = single_node_model("AnalogMatMul", x, {"w": w, **ranks}, {**MATMUL, **NOISY, **group})
        sessions.append(open_kernel(model))
        results.append(sessions[-1].run(None, {"x": x})[0])
    assert programmings() - before == 3
    np.testing.assert_array_equal(results[1], results[3])
    assert not np.array_equal(results[1], results[2])


def test_recording_counts_digital_inputs(tmp_path: Path) -> None:
    x, values = matrices(5, 90, 1)[0], expert()
    shares = {"all": np.zeros(170, bool), "some": some(170, 0.3)}
    shares["some"][60:115] = True
    lines = {}
    for name, digital in shares.items():
        file = tmp_path / name
        model, _ = expert_model(x, values, digital, mode="converters", dac_bits=0, adc_bits=0)
        session = open_kernel(model, {"hetc.stats_file": str(file)})
        session.run(None, {"x": x})
        del session
        lines[name] = [line.split("\t") for line in file.read_text().splitlines()]
    in_lines = {name: [line for line in found if line[1] == "in"] for name, found in lines.items()}
    assert in_lines["all"] == in_lines["some"]
    for line, other in zip(lines["all"], lines["some"], strict=True):
        assert line[:5] == other[:5]  # unit, site, slice, rows, elements
        if len(line) > 6:
            np.testing.assert_allclose(int(line[6]), int(other[6]), rtol=1e-4)


@pytest.mark.parametrize(
    ("ranks", "fragment"),
    [
        ({"input_rank": np.zeros(9, np.int32)}, "input_rank has shape [9]; allowed: [10]"),
        ({"input_rank": np.zeros((10, 1), np.int32)}, "input_rank has shape [10, 1]; allowed: [10]"),
        ({"output_rank": np.zeros(10, np.int32)}, "output_rank has shape [10]; allowed: [4]"),
        ({"output_rank": np.zeros(4, np.float32)}, "output_rank is float32; allowed: int32"),
        ({"output_rank": np.array([0, -1, 1, 2], np.int32)}, "output_rank has the value -1; allowed: >= 0"),
    ],
)
def test_refusals(ranks: dict[str, np.ndarray], fragment: str) -> None:
    x, w = matrices(2, 10, 4)
    model = single_node_model("AnalogMatMul", x, {"w": w, **ranks}, {**MATMUL, **NOISY})
    with pytest.raises(Exception, match=UNIT) as error:
        open_kernel(model)
    assert fragment in str(error.value)


def test_ranks_that_are_not_constant_or_do_not_fit_an_expert() -> None:
    x, values = matrices(2, 90, 1)[0], expert()
    model, _ = expert_model(x, values, np.zeros(170, bool))
    rank = next(tensor for tensor in model.graph.initializer if tensor.name == "neuron_rank")
    rank.dims[0], rank.raw_data = 3, rank.raw_data[:12]
    with pytest.raises(Exception, match=rf"{UNIT}: neuron_rank has shape \[3\]; allowed: \[170\]"):
        open_kernel(model)
    model, _ = expert_model(x, values, np.zeros(170, bool))
    rank = next(tensor for tensor in model.graph.initializer if tensor.name == "neuron_rank")
    model.graph.initializer.remove(rank)
    model.graph.input.append(type(model.graph.input[0])())
    model.graph.input[1].CopyFrom(model.graph.input[0])
    model.graph.input[1].name = "neuron_rank"
    model.graph.input[1].type.tensor_type.elem_type = 6
    with pytest.raises(Exception, match=f"{UNIT}: neuron_rank is not constant"):
        open_kernel(model)
