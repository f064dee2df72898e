"""Products with weights of few bits, made plain and put back, give what ONNX Runtime gave before."""

from __future__ import annotations

from collections import Counter
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from raising import run

from hetc.model.external_tensors import tensor_values
from hetc.model.quantised_tensor import QuantisedTensor
from hetc.passes.rewrite.dequantise_weights import DequantiseWeights
from hetc.passes.rewrite.restore_quantised import RestoreQuantised

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((3, 40)).astype(np.float32)


class Graph:
    """x `[T, K]`, and the weight's constants."""

    def __init__(self) -> None:
        self.x = ir.val("x", ir.DataType.FLOAT, ["T", 40])
        opsets = {"": 21, "com.microsoft": 1}
        self.graph = ir.Graph([self.x], [], nodes=[], opset_imports=opsets, name="g")

    def constant(self, name: str, numbers: Any) -> ir.Value:
        value = ir.val(name, const_value=ir.tensor(numbers, name=name))
        self.graph.register_initializer(value)
        return value

    def op(self, operator: str, *inputs: ir.Value | None, domain: str = "", **attributes: Any) -> ir.Value:
        outputs = 3 if operator == "DynamicQuantizeLinear" else 1
        name = f"{operator}_{len(self.graph)}"
        node = ir.node(operator, inputs, attributes, domain=domain, num_outputs=outputs, name=name)
        for output in node.outputs:
            output.name = f"{name}.{output.index()}"
        self.graph.append(node)
        return node.outputs[0]

    def model(self, y: ir.Value) -> ir.Model:
        y.name, y.dtype, y.shape = "y", ir.DataType.FLOAT, ir.Shape([None, None])
        self.graph.outputs.append(y)
        return ir.Model(self.graph, ir_version=10)


def scales(*shape: int) -> NDArray[np.float32]:
    return RANDOM.uniform(0.01, 0.1, shape).astype(np.float32)


def blocks(bits: int = 4, zeros: str = "", bias: bool = False, groups: bool = False) -> ir.Model:
    """40 inputs in blocks of 16: the last one is shorter."""
    g = Graph()
    codes = g.constant("w_Q4", RANDOM.integers(0, 256, (5, 3, 2 * bits), np.uint8))
    zero = None
    if zeros == "packed":
        zero = g.constant("zeros", RANDOM.integers(0, 256, (5, -(-3 * bits // 8)), np.uint8))
    elif zeros == "float":
        zero = g.constant("zeros", RANDOM.uniform(0, 8, (5, 3)).astype(np.float32))
    order = g.constant("order", np.arange(40, dtype=np.int32) // 16) if groups else None
    added = g.constant("bias", scales(5)) if bias else None
    sizes = {"K": 40, "N": 5, "bits": bits, "block_size": 16}
    inputs = [g.x, codes, g.constant("scales", scales(5, 3)), zero, order, added]
    return g.model(g.op("MatMulNBits", *inputs, domain="com.microsoft", **sizes))


def linear(
    codes: NDArray[Any], scale: NDArray[Any], zero: bool = True, domain: str = "", **attributes: Any
) -> ir.Model:
    g = Graph()
    points = g.constant("zero", np.ones(scale.shape).astype(codes.dtype)) if zero else None
    constants = [g.constant("w_quantized", codes), g.constant("scale", scale), points]
    weight = g.op("DequantizeLinear", *constants, domain=domain, **attributes)
    return g.model(g.op("MatMul", g.x, weight))


def looked_up() -> ir.Model:
    g = Graph()
    table = g.constant("embed_quantized", INT8)
    rows = g.op("Gather", table, g.op("ArgMax", g.x, axis=0, keepdims=0))
    pair = [g.constant("scale", np.float32(0.1)), g.constant("zero", np.int8(3))]
    return g.model(g.op("DequantizeLinear", rows, *pair))


def integer(scale: NDArray[np.float32], zero: bool = True) -> ir.Model:
    g = Graph()
    quantised = g.op("DynamicQuantizeLinear", g.x).producer().outputs
    codes = g.constant("w_quantized", INT8)
    zeros = [g.constant("zero", np.full(scale.shape, 2, np.int8))] if zero else []
    total = g.op("MatMulInteger", quantised[0], codes, quantised[2], *zeros)
    factor = g.op("Mul", quantised[1], g.constant("scale", scale))
    return g.model(g.op("Mul", g.op("Cast", total, to=1), factor))


# Without VNNI, ONNX Runtime's sums of two products of 8 bits saturate at 16.
INT8 = RANDOM.integers(-64, 64, (40, 5)).astype(np.int8)
UINT4 = RANDOM.integers(0, 16, (40, 5)).astype(ml_dtypes.uint4)
INT4 = RANDOM.integers(-8, 8, (40, 5)).astype(ml_dtypes.int4)
FLOAT8 = RANDOM.standard_normal((40, 5)).astype(ml_dtypes.float8_e4m3fn)
MODELS = {
    "4 bits": lambda: blocks(),
    "8 bits": lambda: blocks(8),
    "2 bits": lambda: blocks(2),
    "zero points": lambda: blocks(zeros="packed"),
    "8 bits, zero points": lambda: blocks(8, zeros="packed"),
    "float zero points": lambda: blocks(zeros="float"),
    "bias": lambda: blocks(bias=True),
    "groups": lambda: blocks(groups=True),
    "one scale": lambda: linear(INT8, np.float32(0.1)),
    "a scale a column": lambda: linear(INT8, scales(5), axis=1),
    "a scale a row": lambda: linear(INT8, scales(40), axis=0),
    "no zero point": lambda: linear(INT4, scales(5), zero=False, axis=-1),
    "blocks of 8": lambda: linear(UINT4, scales(5, 5), axis=0, block_size=8),
    "float8": lambda: linear(FLOAT8, np.float32(0.1), zero=False),
    "com.microsoft": lambda: linear(INT8, scales(5), domain="com.microsoft", axis=1),
    "looked up": looked_up,
    "dynamic": lambda: integer(scales(5)),
    "dynamic, one scale": lambda: integer(scales(1), zero=False),
}
EXACT = ("a scale a row", "looked up")
"""DequantizeLinear that is not fused with a product."""


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


@pytest.mark.parametrize("name", MODELS)
def test_equal_with_values_and_put_back(name: str) -> None:
    model = MODELS[name]()
    before, written, constants = run(model, {"x": X})[0], operators(model), set(model.graph.initializers)
    assert DequantiseWeights()(model).modified
    onnx.checker.check_model(ir.to_proto(model))
    (weight,) = (v for v in model.graph.initializers.values() if isinstance(v.const_value, QuantisedTensor))
    plain = run(model, {"x": X})[0]
    # Rounded to 8 bits, each number of x is at most half a step of its range off.
    bits = 0 if name in EXACT else weight.const_value.form.activation_bits
    step = np.ptp(X) / 255 / 2 * np.abs(tensor_values(weight.const_value)).sum(0).max() if bits else 0
    np.testing.assert_allclose(plain, before, rtol=1e-5, atol=1e-5 + step)
    assert RestoreQuantised({})(model).modified
    onnx.checker.check_model(ir.to_proto(model))
    expected = written + Counter({"Add": 1} if name == "bias" else {})
    assert operators(model) == expected
    assert set(model.graph.initializers) == constants
    np.testing.assert_allclose(run(model, {"x": X})[0], before, rtol=1e-6, atol=1e-6)


def test_nothing_is_read_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model = blocks()

    def read(value: ir.Value) -> None:
        raise AssertionError(f"{value.name} was read")

    monkeypatch.setattr("hetc.model.block_weights.constant_values", read)
    DequantiseWeights()(model)
    RestoreQuantised({})(model)


def test_weights_that_two_products_read_are_one() -> None:
    g = Graph()
    constants = [g.constant("w_quantized", INT8), g.constant("scale", np.float32(0.1))]
    products = [g.op("MatMul", g.x, g.op("DequantizeLinear", *constants)) for _ in range(2)]
    model = g.model(g.op("Add", *products))
    DequantiseWeights()(model)
    assert set(model.graph.initializers) == {"w"}
    RestoreQuantised({})(model)
    assert operators(model)["DequantizeLinear"] == 1


def test_activations_are_left_alone() -> None:
    g = Graph()
    pair = [g.constant("scale", np.float32(0.1)), g.constant("zero", np.uint8(128))]
    model = g.model(g.op("DequantizeLinear", g.op("QuantizeLinear", g.x, *pair), *pair))
    assert not DequantiseWeights()(model).modified
    assert not RestoreQuantised({})(model).modified


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bits": 3}, "its weights have 3 bits, not 2, 4 or 8"),
        ({"K": 80}, "don't fit 80 -> 5"),
        ({"scales": None}, "its scales can't be read: no constant"),
    ],
)
def test_declined(change: dict[str, int | None], reason: str, caplog: pytest.LogCaptureFixture) -> None:
    model = blocks()
    node = model.graph[0]
    for name, value in change.items():
        if value is None:
            scale = node.inputs[2]
            del model.graph.initializers[name]
            model.graph.inputs.append(scale)
        else:
            node.attributes[name] = ir.AttrInt64(name, value)
    assert not DequantiseWeights()(model).modified
    assert reason in caplog.text
