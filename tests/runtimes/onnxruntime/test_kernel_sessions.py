"""What sessions, threads, batches and processes may and may not change."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_runs import MATMUL, NOISY, open_kernel, run_kernel, run_matmul
from onnx import helper
from single_node import make_node, single_node_model

from hetc.plan.fractions import DigitalFraction
from hetc.runtimes.onnxruntime.library import library_path

STORES = ("bfloat16", "float32", "int8")


def noisy_model(rows: int = 33, inputs: int = 600, outputs: int = 200) -> tuple[np.ndarray, onnx.ModelProto]:
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, inputs)).astype(np.float32)
    w = random.normal(size=(outputs, inputs)).astype(np.float32)
    return x, single_node_model("AnalogMatMul", x, {"w": w}, {**MATMUL, **NOISY})


@pytest.mark.parametrize("config", [{"hetc.store": store} for store in STORES] + [{"hetc.mode": "exact"}])
def test_threads_and_batches_change_no_bit(config: dict[str, str]) -> None:
    x, model = noisy_model(rows=300)
    one = run_kernel(model, x, config, threads=1)
    np.testing.assert_array_equal(run_kernel(model, x, config, threads=2), one)
    session = open_kernel(model, config, threads=2)
    for size in (1, 3, 64):
        parts = [session.run(None, {"x": x[start : start + size]})[0] for start in range(0, len(x), size)]
        np.testing.assert_array_equal(np.concatenate(parts), one)


def test_processes_agree() -> None:
    program = (
        "import hashlib, test_kernel_sessions as t; x, m = t.noisy_model();"
        "print(hashlib.sha256(t.run_kernel(m, x, {'hetc.seed': '5'}, threads=2).tobytes()).hexdigest())"
    )
    x, model = noisy_model()
    here = hashlib.sha256(run_kernel(model, x, {"hetc.seed": "5"}).tobytes()).hexdigest()
    path = f"import sys; sys.path[:0] = {sys.path!r};"
    there = subprocess.run([sys.executable, "-c", path + program], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_sessions_keep_their_own_seed_whatever_the_order() -> None:
    x, model = noisy_model()
    first = open_kernel(model, {"hetc.seed": "1"})
    second = open_kernel(model, {"hetc.seed": "2"})
    of_second = second.run(None, {"x": x})[0]
    of_first = first.run(None, {"x": x})[0]
    assert not np.array_equal(of_first, of_second)
    np.testing.assert_array_equal(run_kernel(model, x, {"hetc.seed": "2"}), of_second)
    np.testing.assert_array_equal(run_kernel(model, x, {"hetc.seed": "1"}), of_first)
    attribute = {**NOISY, "seed": 1}
    w = np.random.default_rng(0).normal(size=(1, 1)).astype(np.float32)
    one = np.ones((1, 1), np.float32)
    np.testing.assert_array_equal(
        run_matmul(one, w, attribute), run_matmul(one, w, NOISY, {"hetc.seed": "1"})
    )


def test_sessions_that_program_at_once_agree() -> None:
    x, model = noisy_model(outputs=500)
    expected = run_kernel(model, x, {"hetc.seed": "11"})
    sessions = [open_kernel(model, {"hetc.seed": "12"}, threads=2) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda session: session.run(None, {"x": x})[0], sessions))
    for result in results:
        np.testing.assert_array_equal(result, results[0])
    assert not np.array_equal(results[0], expected)


def test_entries_beat_attributes() -> None:
    x, w = np.eye(40, dtype=np.float32), np.random.default_rng(1).normal(size=(30, 40)).astype(np.float32)
    exact = run_matmul(x, w, {"mode": "exact"})
    np.testing.assert_array_equal(run_matmul(x, w, NOISY, {"hetc.mode": "exact"}), exact)
    converters = run_matmul(x, w, {"mode": "converters"})
    np.testing.assert_array_equal(run_matmul(x, w, NOISY, {"hetc.mode": "converters"}), converters)
    np.testing.assert_array_equal(run_matmul(x, w, NOISY, {"hetc.noise_scale": "0"}), converters)
    loud = run_matmul(x, w, {**NOISY, "noise_scale": 4.0})
    np.testing.assert_array_equal(run_matmul(x, w, NOISY, {"hetc.noise_scale": "4.0"}), loud)


@pytest.mark.parametrize(
    ("fraction", "group_size", "digital"),
    [
        ("0", 8, 0),
        ("0.25", 8, 2),
        ("1", 8, 8),
        ("0.0625", 8, 1),
        ("0.06249999999999999", 8, 0),
        ("0.5", 5, 3),
        ("0.1", 15, 2),
        ("0.7", 5, 4),
        ("1.000", 3, 3),
        (".5", 2, 1),
        ("1/3", 3, 1),
        ("2/3", 3, 2),
        ("1/6", 6, 1),
        ("0/7", 2, 0),
    ],
)
def test_digital_fraction(fraction: str, group_size: int, digital: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 20)).astype(np.float32)
    w = np.random.default_rng(1).normal(size=(6, 20)).astype(np.float32)
    exact, noisy = run_matmul(x, w, {"mode": "exact"}), run_matmul(x, w, NOISY)
    for rank in range(group_size):
        group = {**NOISY, "rank": rank, "group_size": group_size}
        y = run_matmul(x, w, group, {"hetc.digital_frac": fraction})
        np.testing.assert_array_equal(y, exact if rank < digital else noisy)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 10**6).flatmap(lambda size: st.tuples(st.integers(1, size), st.just(size))))
def test_kernels_count_as_python_does(kept_of: tuple[int, int]) -> None:
    kept, size = kept_of
    x, w = np.ones((1, 20), np.float32), np.random.default_rng(1).normal(size=(6, 20)).astype(np.float32)
    exact = run_matmul(x, w, {"mode": "exact"})
    fraction = DigitalFraction(Fraction(kept, size))
    assert fraction.count(size) == kept
    for rank in {kept - 1, min(kept, size - 1)}:
        group = {**NOISY, "rank": rank, "group_size": size}
        y = run_matmul(x, w, group, {"hetc.digital_frac": str(fraction)})
        assert np.array_equal(y, exact) == (rank < kept)


def test_digital_fraction_leaves_units_without_a_group() -> None:
    x, w = np.ones((1, 4), np.float32), np.ones((3, 4), np.float32)
    y = run_matmul(x, w, NOISY, {"hetc.digital_frac": "1"})
    np.testing.assert_array_equal(y, run_matmul(x, w, NOISY))


def test_kernel_runs_inside_a_function_and_in_place_of_its_own() -> None:
    """A function of the operator's name is for runtimes without the library; with it the kernel runs."""
    random = np.random.default_rng(0)
    x, w = (random.normal(size=shape).astype(np.float32) for shape in ((2, 8), (3, 8)))
    attributes: dict[str, Any] = {**MATMUL, **NOISY}
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("hetc", 1), helper.make_opsetid("user", 1)]
    body = helper.make_function(
        "hetc",
        "AnalogMatMul",
        ["x", "w"],
        ["y"],
        [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)],
        opsets[:1],
    )
    body.attribute.extend(attributes)
    call = make_node("AnalogMatMul", ["a", "b"], ["c"], attributes)
    outer = helper.make_function("user", "Expert", ["a", "b"], ["c"], [call], opsets[:2])
    graph = helper.make_graph(
        [helper.make_node("Expert", ["x", "w"], ["y"], domain="user")],
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["m", 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["m", 3])],
        [helper.make_tensor("w", onnx.TensorProto.FLOAT, w.shape, w.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=opsets, functions=[body, outer])
    import onnxruntime

    plain = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(plain.run(None, {"x": x})[0], x @ w.T, atol=1e-5)
    np.testing.assert_array_equal(run_kernel(model, x), run_matmul(x, w, NOISY))


def test_many_sessions_of_one_options_object() -> None:
    import onnxruntime

    x, model = noisy_model(rows=2)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(library_path()))
    sessions = [onnxruntime.InferenceSession(model.SerializeToString(), options) for _ in range(3)]
    for session in sessions:
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], run_kernel(model, x))
