"""Whatever a node, a session entry or an input holds: an error, or a result that a second run repeats."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_runs import NOISY, open_kernel
from onnx import helper, numpy_helper
from single_node import ANALOG_ATTRIBUTES, make_node

from hetc.operators.schemas import DOMAIN, INPUTS, VERSION

FLOATS = (np.float32, np.float16, ml_dtypes.bfloat16)
OTHER_TYPES = (np.float64, np.int8, np.int64, np.uint8, np.bool_)
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, 3e38, -3e38, 65504.0)
INTEGERS = (-(2**63), -1, 0, 1, 2, 3, 7, 8, 16, 17, 24, 25, 2**31 - 1, 2**31, 2**32, 2**63 - 1)
TEXTS = (
    "",
    "exact",
    "converters",
    "noisy",
    "none",
    "differential-pair",
    "gaussian",
    "silu",
    "relu2",
    "\u03c3" * 300,
)
MATRICES = {"w", "gate", "up", "down"}
GROUP_SIZE = 8
GROUP = {"group_size": GROUP_SIZE, "rank": GROUP_SIZE - 1, "digital_count": 1}
STREAMS = {"gate_stream": 4, "up_stream": 5, "down_stream": 6}
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "AnalogMatMul": {**ANALOG_ATTRIBUTES, **NOISY, **GROUP, "stream": 3},
    "AnalogExpert": {**ANALOG_ATTRIBUTES, **NOISY, **GROUP, **STREAMS, "activation": "silu"},
    "Expert16": {"activation": "gelu", "transpose_weight": 1},
    "MatMul16": {"transpose_weight": 1},
    "RequireLibrary": {},
}
ENTRIES = {
    "hetc.mode": ("exact", "converters", "noisy"),
    "hetc.seed": ("0", "9223372036854775807"),
    "hetc.noise_scale": ("0", "1e-30", "1e30", "3.4e38"),
    "hetc.store": ("bfloat16", "float32", "int8"),
    "hetc.digital_frac": ("0.1", "0.5", "1.000"),
}
BAD_ENTRIES = ("", "-1", "nan", "1e999", "9223372036854775808", "0." + "9" * 40, "\u03c3" * 300)
WRONGS = ("attribute", "missing attribute", "x shape", "x type", "constant", "missing constant", "entry")

integers = st.sampled_from(INTEGERS) | st.integers(-(2**63), 2**63 - 1)
floats = st.sampled_from(SPECIAL) | st.floats(width=32)
attribute_values = (
    integers | floats | st.sampled_from(TEXTS) | st.lists(floats, max_size=40) | st.just([1, 2])
)
ranks = st.integers(0, GROUP_SIZE - 1)
shapes = st.lists(st.integers(0, 9), max_size=4)


def array(draw: st.DrawFn, shape: list[int], dtype: Any) -> np.ndarray:
    """Normal numbers, now and then of an unusual size or with a few unusual ones among them."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = random.normal(size=shape) * draw(st.sampled_from([1.0, 1.0, 1.0, 1e-38, 1e30]))
    if values.size and draw(st.integers(0, 3)) == 0:
        values.flat[random.integers(0, values.size, 2)] = draw(st.sampled_from(SPECIAL))
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(dtype)


def usual_shape(name: str, hidden: int, inner: int, transposed: bool) -> list[int]:
    """What docs/operators.md asks of an input, for one K-slice where the number of slices matters."""
    if name in MATRICES:
        shape = [hidden, inner] if name == "down" else [inner, hidden]
        return shape if transposed else shape[::-1]
    if name.endswith("bias"):
        return [hidden if name == "down_bias" else inner]
    if name.endswith("rank"):
        return [hidden if name == "input_rank" else inner]
    return [1] if name.endswith("range") else [1, 1]


@st.composite
def cases(draw: st.DrawFn, operator: str) -> tuple[onnx.ModelProto, np.ndarray, dict[str, str]]:
    """A model of one node, its x, and session entries: half are sound, the others wrong in 1 to 3 ways."""
    wrong = draw(st.just(set()) | st.sets(st.sampled_from(WRONGS), min_size=1, max_size=3))
    hidden, inner = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    attributes = dict(ATTRIBUTES[operator])
    if "mode" in attributes:
        attributes["noise_form"] = draw(st.sampled_from(["differential-pair", "gaussian", "none"]))
        attributes["mode"] = draw(st.sampled_from(["exact", "converters", "noisy"]))
    if attributes and "attribute" in wrong:
        attributes[draw(st.sampled_from(sorted(attributes)))] = draw(attribute_values)
    if attributes and "missing attribute" in wrong:
        del attributes[draw(st.sampled_from(sorted(attributes)))]
    transposed = attributes.get("transpose_weight", 1) != 0

    x_shape = [*draw(st.lists(st.integers(0, 5), max_size=3)), hidden]
    x_shape = draw(shapes) if "x shape" in wrong else x_shape
    x_type = draw(st.sampled_from(OTHER_TYPES if "x type" in wrong else FLOATS))
    x = array(draw, x_shape, x_type)

    constants: dict[str, np.ndarray] = {}
    optional = draw(st.booleans())
    for name, kind in list(INPUTS[operator].items())[1:]:
        if kind.endswith("?") and name != "gate" and not (optional and draw(st.booleans())):
            continue
        dtype = np.float32 if kind == "F?" else draw(st.sampled_from(FLOATS))
        if operator in ("Expert16", "MatMul16") and name in MATRICES:
            dtype = np.float16
        constants[name] = array(draw, usual_shape(name, hidden, inner, transposed), dtype)
        if kind == "F?":
            constants[name] = np.abs(constants[name])
        if kind == "I?":
            shape = usual_shape(name, hidden, inner, transposed)
            constants[name] = np.array(draw(st.lists(ranks, min_size=shape[0], max_size=shape[0])), np.int32)
    if constants:
        victim = draw(st.sampled_from(sorted(constants)))
        if "constant" in wrong:
            types = draw(st.sampled_from((*FLOATS, *OTHER_TYPES)))
            constants[victim] = array(draw, draw(shapes), types)
        if "missing constant" in wrong:
            del constants[victim]
    entries = {
        name: draw(st.sampled_from(ENTRIES[name])) for name in draw(st.sets(st.sampled_from(tuple(ENTRIES))))
    }
    if "entry" in wrong:
        entries[draw(st.sampled_from(("hetc.\u03c3", *ENTRIES)))] = draw(st.sampled_from(BAD_ENTRIES))
    return model_of(operator, attributes, x, constants), x, entries


def model_of(
    operator: str, attributes: dict[str, Any], x: np.ndarray, constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    """One node and a Cast of its result to float32; x may have any shape."""
    names = ["x", *(name if name in constants else "" for name in list(INPUTS[operator])[1:])]
    while names[-1] == "":
        names.pop()
    node = make_node(operator, names, ["result"], attributes)
    cast = helper.make_node("Cast", ["result"], ["y"], to=onnx.TensorProto.FLOAT)
    graph = helper.make_graph(
        [node, cast],
        "graph",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), None)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, VERSION)]
    model: onnx.ModelProto = helper.make_model(graph, ir_version=10, opset_imports=opsets)
    return model


def run(session: onnxruntime.InferenceSession, x: np.ndarray) -> np.ndarray:
    """y; OrtValues carry bfloat16 in, which NumPy alone does not."""
    value = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
        np.ascontiguousarray(x), helper.np_dtype_to_tensor_dtype(x.dtype)
    )
    output: np.ndarray = session.run_with_ort_values(["y"], {"x": value})[0].numpy()
    return output


def gives_result(model: onnx.ModelProto, x: np.ndarray, entries: dict[str, str]) -> bool:
    """Whether a case runs; fails if it is refused without a reason or gives different results."""
    try:
        y = run(open_kernel(model, entries), x)
    except Exception as error:
        # A refusal is ours or ONNX Runtime's, not a C++ exception that escaped on its way.
        assert not re.search(r"std::|bad_alloc|vector::|unknown failure", str(error))
        return False
    again = run(open_kernel(model, entries, threads=2), x)
    assert y.shape[:-1] == x.shape[:-1]
    assert y.shape == again.shape
    assert y.tobytes() == again.tobytes()
    return True


def share_of_results(operator: str, examples: int) -> float:
    """Check that many random cases; the share of them that got as far as a result."""
    results: list[bool] = []

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases(operator))
    def check_case(case: tuple[onnx.ModelProto, np.ndarray, dict[str, str]]) -> None:
        results.append(gives_result(*case))

    check_case()
    return float(np.mean(results))


@pytest.mark.parametrize("operator", ATTRIBUTES)
def test_error_or_result(operator: str) -> None:
    """A fuzz test that only meets refusals would test little."""
    assert share_of_results(operator, 60) > 0.05


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("operator", ATTRIBUTES)
def test_error_or_result_for_longer(operator: str) -> None:
    assert share_of_results(operator, 3000) > 0.2
