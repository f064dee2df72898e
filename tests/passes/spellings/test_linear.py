"""Products with what is added to them, however they are written."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from hetc.passes.spellings.linear import find_bias, read_linear
from hetc.passes.spellings.products import read_product


def constant(name: str, *shape: int, dtype: type = np.float32) -> ir.Value:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    ir.Graph([], [], nodes=[], initializers=[value])
    return value


def op(operator: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
    return ir.node(operator, inputs, attributes).outputs[0]  # type: ignore[arg-type]


def wide(value: ir.Value) -> ir.Value:
    return op("Cast", value, to=ir.DataType.FLOAT.value)


@pytest.mark.parametrize("written", ["product", "bias right", "bias left", "gemm", "gemm and sum"])
def test_bias_is_read_from_both_ends(written: str) -> None:
    x, w, b = ir.val("x"), constant("w", 3, 2), constant("b", 2)
    y = {
        "product": lambda: op("MatMul", x, w),
        "bias right": lambda: op("Add", op("MatMul", x, w), op("Identity", b)),
        "bias left": lambda: op("Add", b, op("MatMul", x, w)),
        "gemm": lambda: op("Gemm", x, w, b),
        "gemm and sum": lambda: op("Add", op("Gemm", x, w), b),
    }[written]()
    linear = read_linear(y)
    assert linear is not None
    assert (linear.product.data, linear.product.weight.source) == (x, w)
    found = find_bias(linear.product)
    assert (linear.bias is None) == (found is None) == (written == "product")
    assert found is None or found.source is b
    assert linear.added_by is y.producer()


@pytest.mark.parametrize(
    ("turned", "written"),
    [
        (False, lambda x: op("MatMul", x, constant("w", 3, 2))),
        (True, lambda x: op("MatMul", x, op("Transpose", constant("w", 2, 3)))),
        (True, lambda x: op("MatMul", x, wide(op("Transpose", constant("w", 2, 3, dtype=np.float16))))),
        (False, lambda x: op("MatMul", x, op("Transpose", constant("w", 3, 2), perm=[0, 1]))),
        (True, lambda x: op("Gemm", x, constant("w", 2, 3), transB=1)),
        (False, lambda x: op("Gemm", x, op("Transpose", constant("w", 3, 2)), transB=1)),
        (None, lambda x: op("MatMul", x, op("Squeeze", constant("w", 1, 3, 2)))),
    ],
)
def test_orientation_of_a_whole_weight(turned: bool | None, written: object) -> None:
    product = read_product(written(ir.val("x")).producer())  # type: ignore[operator]
    assert product is not None
    assert product.turned is turned
    assert product.matrix().shape == (3, 2)


@pytest.mark.parametrize(
    "written",
    [
        lambda x: op("Add", op("MatMul", x, constant("w", 3, 2)), x),
        lambda x: op("Add", op("Gemm", x, constant("w", 3, 2), constant("b", 2)), constant("c", 2)),
        lambda x: op("Gemm", x, constant("w", 3, 2), alpha=2.0),
        lambda x: op("MatMul", constant("w", 3, 2), x),
        lambda x: op("MatMul", x, op("Neg", constant("w", 3, 2))),
        lambda x: x,
    ],
)
def test_what_is_no_product_with_a_constant_bias(written: object) -> None:
    assert read_linear(written(ir.val("x"))) is None  # type: ignore[operator]
