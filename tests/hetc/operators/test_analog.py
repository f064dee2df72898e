"""Function bodies in ONNX Runtime without the library and in onnx's evaluator, against the reference."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from equality import assert_adc_equal, assert_mostly_equal
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from single_node import ANALOG_ATTRIBUTES, Run, run_in_evaluator, run_in_onnxruntime, single_node_model

from hetc.operators.analog import analog_expert_function, analog_matmul_function
from hetc.operators.schemas import register
from hetc.runtimes.reference import Crossbar, analog_matmul, convert

RUNTIMES = pytest.mark.parametrize("run", [run_in_onnxruntime, run_in_evaluator])
TYPES = [np.float32, np.float16, ml_dtypes.bfloat16]


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    register()


def check_matmul(
    run: Run,
    x: NDArray[Any],
    w: NDArray[Any],
    *,
    transpose_weight: int = 0,
    opset: int = 18,
    input_range: NDArray[np.float32] | None = None,
    adc_bound: NDArray[np.float32] | None = None,
    weight_scale: NDArray[np.float32] | None = None,
    **crossbar: Any,
) -> NDArray[np.float32]:
    """Run the body on ``w [K, N]`` and hold every ADC code against the reference."""
    optional = {"input_range": input_range, "adc_bound": adc_bound, "weight_scale": weight_scale}
    function = analog_matmul_function(
        opset=opset,
        scale_per_tile=crossbar.get("scale_mode") == "tile",
        bound_management=crossbar.get("bound_management") == "iterative",
        **{name: value is not None for name, value in optional.items()},
    )
    stored = np.ascontiguousarray(w.T) if transpose_weight else w
    attributes = {**ANALOG_ATTRIBUTES, **crossbar, "transpose_weight": transpose_weight, "stream": 5}
    model = single_node_model("AnalogMatMul", x, {"w": stored, **optional}, attributes, [function], opset)
    onnx.checker.check_model(model, full_check=True)
    y = run(model, x)
    assert y.shape == (*x.shape[:-1], w.shape[1])
    conversions = convert(
        x.reshape(-1, x.shape[-1]) if x.size else np.zeros((0, x.shape[-1]), x.dtype),
        stored,
        Crossbar("converters", **crossbar),
        5,
        transpose_weight=bool(transpose_weight),
        **optional,
    )
    assert_adc_equal(y, conversions, x.dtype)
    return y


def matrices(rows: int, inputs: int, outputs: int, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    random = np.random.default_rng(seed)
    x, w = random.normal(size=(rows, inputs)), random.normal(size=(inputs, outputs))
    return x.astype(np.float32), w.astype(np.float32)


@RUNTIMES
@pytest.mark.parametrize("transpose_weight", [0, 1])
@pytest.mark.parametrize(("inputs", "tile_rows"), [(64, 512), (64, 64), (64, 16), (61, 16), (5, 1)])
def test_slices_and_orientations(run: Run, transpose_weight: int, inputs: int, tile_rows: int) -> None:
    x, w = matrices(7, inputs, 9)
    check_matmul(run, x, w, transpose_weight=transpose_weight, tile_rows=tile_rows)


@RUNTIMES
@pytest.mark.parametrize("x_type", TYPES)
@pytest.mark.parametrize("w_type", TYPES)
def test_types(run: Run, x_type: Any, w_type: Any) -> None:
    x, w = matrices(4, 30, 6)
    check_matmul(run, x.astype(x_type), w.astype(w_type), tile_rows=16)


@RUNTIMES
@pytest.mark.parametrize("opset", [18, 19, 20, 21])
def test_opsets(run: Run, opset: int) -> None:
    x, w = matrices(4, 30, 6)
    check_matmul(run, x, w, tile_rows=16, opset=opset)


@RUNTIMES
@pytest.mark.parametrize(
    "shape", [(30,), (1, 30), (2, 3, 30), (2, 1, 2, 30), (0, 30), (2, 0, 30), (0, 3, 30)]
)
def test_leading_dimensions(run: Run, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    _, w = matrices(1, 30, 6)
    check_matmul(run, x, w, tile_rows=16)


@RUNTIMES
@pytest.mark.parametrize("input_range", [False, True])
@pytest.mark.parametrize("adc_bound", [None, 1, 6])
@pytest.mark.parametrize("weight_scale", [None, 1, 6])
def test_calibrated_inputs(
    run: Run, input_range: bool, adc_bound: int | None, weight_scale: int | None
) -> None:
    random = np.random.default_rng(2)
    x, w = matrices(4, 30, 6)
    check_matmul(
        run,
        x,
        w,
        tile_rows=16,
        input_range=np.array([1.5, 2.5], np.float32) if input_range else None,
        adc_bound=random.uniform(5, 20, (2, adc_bound)).astype(np.float32) if adc_bound else None,
        weight_scale=random.uniform(1, 3, (2, weight_scale)).astype(np.float32) if weight_scale else None,
    )


@RUNTIMES
@pytest.mark.parametrize("tile_columns", [1, 4, 7, 20])
def test_scales_per_tile(run: Run, tile_columns: int) -> None:
    x, w = matrices(4, 30, 11)
    check_matmul(run, x, w, tile_rows=16, tile_columns=tile_columns, scale_mode="tile")


@RUNTIMES
@pytest.mark.parametrize("dac_bits", [0, 2, 8, 16])
@pytest.mark.parametrize("adc_bits", [0, 2, 8, 24])
def test_bits(run: Run, dac_bits: int, adc_bits: int) -> None:
    x, w = matrices(4, 30, 6)
    check_matmul(run, x, w, tile_rows=16, dac_bits=dac_bits, adc_bits=adc_bits)


@RUNTIMES
@pytest.mark.parametrize("adc_bits", [0, 8])
def test_zero_and_tiny_slices_columns_and_bounds(run: Run, adc_bits: int) -> None:
    x, w = matrices(4, 32, 5)
    x[1] = 0
    x[2, 16:] = 1e-31
    w[:, 3] = 0
    w[:16, 4] = 1e-33
    y = check_matmul(run, x, w, tile_rows=16, adc_bits=adc_bits)
    assert np.all(y[1] == 0) and np.all(y[:, 3] == 0) and np.isfinite(y).all()
    bound = np.array([[0.0], [10.0]], np.float32)
    check_matmul(run, x, w, tile_rows=16, adc_bits=adc_bits, adc_bound=bound)


@RUNTIMES
@pytest.mark.parametrize("tiny", ["input", "range", "bound"])
def test_what_is_smaller_than_the_smallest_contributes_exactly_nothing(run: Run, tiny: str) -> None:
    x, w = matrices(4, 16, 5)
    y = check_matmul(
        run,
        x * np.float32(1e-32) if tiny == "input" else x,
        w,
        input_range=np.full(1, 1e-31, np.float32) if tiny == "range" else None,
        adc_bound=np.full((1, 1), 1e-31, np.float32) if tiny == "bound" else None,
    )
    np.testing.assert_array_equal(y, 0)


@RUNTIMES
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("fixed_range", [False, True])
def test_a_value_that_is_not_finite_spoils_its_own_row_only(run: Run, bad: float, fixed_range: bool) -> None:
    x, w = matrices(3, 32, 4)
    w[:, 2] = 0
    x[1, 20] = bad
    ranges = np.full(2, 2.0, np.float32) if fixed_range else None
    y = check_matmul(run, x, w, tile_rows=16, input_range=ranges)
    assert np.isnan(y[1]).all() and np.isfinite(y[[0, 2]]).all()


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(0, 5),
    inputs=st.integers(1, 50),
    outputs=st.integers(1, 8),
    tile_rows=st.integers(1, 60),
    dac_bits=st.sampled_from([0, 2, 6, 8]),
    adc_bits=st.sampled_from([0, 2, 8, 12]),
    transpose_weight=st.integers(0, 1),
    seed=st.integers(0, 99),
)
def test_any_shape(
    rows: int,
    inputs: int,
    outputs: int,
    tile_rows: int,
    dac_bits: int,
    adc_bits: int,
    transpose_weight: int,
    seed: int,
) -> None:
    x, w = matrices(rows, inputs, outputs, seed)
    check_matmul(
        run_in_onnxruntime,
        x,
        w,
        transpose_weight=transpose_weight,
        tile_rows=tile_rows,
        dac_bits=dac_bits,
        adc_bits=adc_bits,
    )


@RUNTIMES
@pytest.mark.parametrize("dac_bits", [0, 2, 5, 8])
@pytest.mark.parametrize("optional", [(), ("input_range", "weight_scale"), ("adc_bound",)])
def test_bound_management(run: Run, dac_bits: int, optional: tuple[str, ...]) -> None:
    """Rows of every size, so that each is doubled another number of times, up to giving up."""
    x, w = matrices(12, 30, 6)
    x *= np.geomspace(0.01, 100, 12, dtype=np.float32)[:, None]
    x[3, 4], x[5, 20] = np.inf, np.nan
    values = {
        "input_range": np.array([0.5, 0.7], np.float32),
        "adc_bound": np.full((2, 1), 0.3, np.float32),
        "weight_scale": np.full((2, 6), 1.5, np.float32),
    }
    given = {name: values[name] for name in optional}
    settings: dict[str, Any] = {"tile_rows": 16, "dac_bits": dac_bits, "out_bound": 0.4}
    managed = check_matmul(run, x, w, bound_management="iterative", **settings, **given)
    plain = check_matmul(run, x, w, **settings, **given)
    assert np.isnan(managed[[3, 5]]).all()
    assert (np.nan_to_num(managed) != np.nan_to_num(plain)).any() == (dac_bits in (0, 5, 8))
    check_matmul(run, x, w, bound_management="iterative", adc_bits=0, **{**settings, **given})
    check_matmul(run, x[:0], w, bound_management="iterative", **settings, **given)


def test_a_large_product_agrees_but_for_explained_flips() -> None:
    x, w = matrices(64, 1536, 256)
    y = check_matmul(run_in_onnxruntime, x, w, transpose_weight=1)
    expected = analog_matmul(x, w, Crossbar("converters"), 5, transpose_weight=False)
    assert (np.abs(y - expected) > 1e-4).mean() < 1e-3


def test_the_mode_attribute_does_not_reach_the_body() -> None:
    x, w = matrices(3, 32, 4)
    function = analog_matmul_function(opset=18)
    outputs = []
    for mode in ("exact", "converters", "noisy"):
        attributes = {**ANALOG_ATTRIBUTES, "transpose_weight": 0, "stream": 0, "mode": mode}
        model = single_node_model("AnalogMatMul", x, {"w": w}, attributes, [function])
        outputs.append(run_in_onnxruntime(model, x))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


def test_functions_declare_every_attribute_of_their_schema() -> None:
    for operator, function in (
        ("AnalogMatMul", analog_matmul_function(opset=18)),
        ("AnalogExpert", analog_expert_function(opset=18, gated=True, activation="silu")),
    ):
        schema = onnx.defs.get_schema(operator, 1, "hetc")
        required = {name for name, attribute in schema.attributes.items() if attribute.required}
        assert set(function.attributes) == required


@RUNTIMES
@pytest.mark.parametrize("transpose_weight", [0, 1])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale_mode": "tile", "tile_columns": 4},
        {"bound_management": "iterative", "out_bound": 1.0},
        {"input_range": np.full(3, 1.5, np.float32), "adc_bits": 0},
        {"adc_bits": 0, "dac_bits": 0},
    ],
    ids=["plain", "tile", "bounds", "range", "no-converters"],
)
def test_digital_inputs_and_outputs(run: Run, transpose_weight: int, options: dict[str, Any]) -> None:
    x, w = matrices(6, 40, 9, seed=7)
    random = np.random.default_rng(8)
    ranks = {
        "input_rank": random.permutation(60)[:40].astype(np.int32),
        "output_rank": random.permutation(60)[:9].astype(np.int32),
    }
    ranks["input_rank"][:16] %= 16  # a slice without analog inputs
    x[2, 3], x[4, 30] = np.inf, np.nan
    crossbar = {"tile_rows": 16, **options}
    input_range = crossbar.pop("input_range", None)
    function = analog_matmul_function(
        opset=18,
        input_range=input_range is not None,
        ranks=True,
        scale_per_tile="scale_mode" in options,
        bound_management="bound_management" in options,
    )
    stored = np.ascontiguousarray(w.T) if transpose_weight else w
    attributes = {**ANALOG_ATTRIBUTES, **crossbar, "transpose_weight": transpose_weight, "stream": 5}
    attributes |= {"digital_count": 16, "group_size": 60}
    constants = {"w": stored, "input_range": input_range, **ranks}
    model = single_node_model("AnalogMatMul", x, constants, attributes, [function], 18)
    onnx.checker.check_model(model, full_check=True)
    expected = analog_matmul(
        x,
        stored,
        Crossbar("converters", **crossbar),
        5,
        transpose_weight=bool(transpose_weight),
        input_range=input_range,
        digital_inputs=ranks["input_rank"] < 16,
        digital_outputs=ranks["output_rank"] < 16,
    )
    assert (ranks["output_rank"] < 16).any()
    assert_mostly_equal(run(model, x), expected)
