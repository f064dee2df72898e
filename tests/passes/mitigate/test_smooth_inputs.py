"""Smoothing keeps what a model computes, and leaves alone what it can't keep."""

from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetc.passes.mitigate.smooth_inputs import SmoothInputs, find_smoothable

HIDDEN, OUTPUTS = 8, 5


def model(*, dtype: type = np.float32, transposed: bool = False, extra: str = "", seed: int = 0) -> ir.Model:
    """`y = (g x) W`, with an `extra` use of what is in between."""
    random = np.random.default_rng(seed)

    def constant(name: str, numbers: np.ndarray) -> ir.Value:
        return ir.val(name, const_value=ir.tensor(numbers.astype(dtype), name=name))

    shape = (OUTPUTS, HIDDEN) if transposed else (HIDDEN, OUTPUTS)
    weights = [constant("g", random.uniform(0.5, 2, HIDDEN)), constant("w", random.standard_normal(shape))]
    x = ir.val("x", ir.DataType.FLOAT, ["T", HIDDEN])
    nodes: list[ir.Node] = []

    def op(operator: str, *inputs: ir.Value | None, **attributes: object) -> ir.Value:
        nodes.append(ir.node(operator, inputs, attributes, name=f"{operator}_{len(nodes)}"))
        return nodes[-1].outputs[0]

    gain, weight = (op("Cast", value, to=ir.DataType.FLOAT.value) for value in weights)
    normed = op("Mul", gain, x)
    rows = op(
        "Gather", normed, constant_index := ir.val("i", const_value=ir.tensor([1, 0], name="i")), axis=0
    )
    matrix = op("Transpose", weight, perm=[1, 0]) if transposed else weight
    y = op("MatMul", rows, matrix)
    outputs = [y]
    if extra == "norm":
        outputs.append(op("Relu", normed))
    elif extra == "weight":
        outputs.append(op("Relu", weight))
    elif extra == "output":
        outputs.append(normed)
    for index, output in enumerate(outputs):
        output.name, output.type = f"y{index}", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [x],
        outputs,
        nodes=nodes,
        initializers=[*weights, constant_index],
        opset_imports={"": 18},
        name="normed",
    )
    return ir.Model(graph, ir_version=10)


def run(made: ir.Model, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(ir.to_proto(made).SerializeToString())
    return session.run(None, {"x": x})[0]


@settings(max_examples=20, deadline=None)
@given(
    strength=st.floats(0, 1),
    transposed=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float16]),
    seed=st.integers(0, 99),
)
def test_the_model_computes_what_it_did(strength: float, transposed: bool, dtype: type, seed: int) -> None:
    made = model(dtype=dtype, transposed=transposed, seed=seed)
    random = np.random.default_rng(seed)
    x = random.standard_normal((2, HIDDEN)).astype(np.float32)
    expected = run(made, x)
    largest = np.exp2(random.uniform(-5, 5, HIDDEN)).astype(np.float32)
    assert SmoothInputs({"g": largest}, strength)(made).modified
    np.testing.assert_array_equal(run(made, x), expected)


def test_large_channels_get_small_and_their_weights_large() -> None:
    made = model()
    before = {name: value.const_value.numpy() for name, value in made.graph.initializers.items()}
    largest = np.ones(HIDDEN, np.float32)
    largest[3] = 256
    SmoothInputs({"g": largest}, 1.0)(made)
    after = {name: value.const_value.numpy() for name, value in made.graph.initializers.items()}
    ratio = after["w"][:, 0] / before["w"][:, 0]
    np.testing.assert_array_equal(ratio, [0.5, 0.5, 0.5, 128, 0.5, 0.5, 0.5, 0.5])
    np.testing.assert_array_equal(after["g"] * ratio, before["g"])


def test_channels_that_are_never_used_stay() -> None:
    made = model()
    largest = np.zeros(HIDDEN, np.float32)
    before = made.graph.initializers["w"].const_value.numpy()
    SmoothInputs({"g": largest})(made)
    np.testing.assert_array_equal(made.graph.initializers["w"].const_value.numpy(), before)


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ("norm", "Relu 'Relu_5' takes its output and is no product"),
        ("weight", "something else uses the weight 'w'"),
        ("output", "it is an output of the model"),
    ],
)
def test_what_is_left_alone_and_why(extra: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    made = model(extra=extra)
    with caplog.at_level(logging.INFO):
        assert not find_smoothable(made)
    assert reason in caplog.text
    assert not SmoothInputs({"g": np.ones(HIDDEN, np.float32)})(made).modified
