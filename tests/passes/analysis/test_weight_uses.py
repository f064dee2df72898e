"""A weight's products are found through Cast, Identity and Transpose, and nothing else is taken for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from hetc.passes.analysis.weight_uses import Product, products_of

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
WEIGHT = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)


class Uses:
    """A graph around one square weight, so that every product is possible in every orientation."""

    def __init__(self) -> None:
        self.x = ir.val("x", ir.DataType.FLOAT, list(X.shape))
        self.weight = ir.val("w", const_value=ir.tensor(WEIGHT, name="w"))
        self.bias = ir.val("b", const_value=ir.tensor(WEIGHT[0].copy(), name="b"))
        opsets = {"": 18, "com.example": 1}
        self.graph = ir.Graph([self.x], [], nodes=[], opset_imports=opsets, name="uses")
        for value in (self.weight, self.bias):
            self.graph.register_initializer(value)

    def op(self, operator: str, *inputs: ir.Value, domain: str = "", **attributes: Any) -> ir.Value:
        node = ir.node(operator, inputs, attributes, domain=domain)
        self.graph.append(node)
        return node.outputs[0]

    def turned(self, value: ir.Value, *perm: int) -> ir.Value:
        return self.op("Transpose", value, **({"perm": perm} if perm else {}))

    def found(self) -> list[Product]:
        return list(products_of(self.weight))

    def value_of(self, y: ir.Value) -> np.ndarray:
        y.dtype, y.shape = ir.DataType.FLOAT, ir.Shape([None, None])
        self.graph.outputs.append(y)
        model = ir.to_proto(ir.Model(self.graph, ir_version=10))
        onnx.checker.check_model(model)
        return ReferenceEvaluator(model).run(None, {"x": X})[0]


Spelling = Callable[[Uses], ir.Value]

PRODUCTS: dict[str, tuple[Spelling, bool]] = {
    "plain": (lambda u: u.op("MatMul", u.x, u.weight), False),
    "transposed": (lambda u: u.op("MatMul", u.x, u.turned(u.weight, 1, 0)), True),
    "transposed by default": (lambda u: u.op("MatMul", u.x, u.turned(u.weight)), True),
    "transposed twice": (lambda u: u.op("MatMul", u.x, u.turned(u.turned(u.weight), 1, 0)), False),
    "cast": (lambda u: u.op("MatMul", u.x, u.turned(u.op("Cast", u.weight, to=1), 1, 0)), True),
    "identity": (lambda u: u.op("MatMul", u.x, u.op("Identity", u.turned(u.weight, 1, 0))), True),
    "named domain": (lambda u: u.op("MatMul", u.x, u.weight, domain="ai.onnx"), False),
    "gemm": (lambda u: u.op("Gemm", u.x, u.weight), False),
    "gemm with bias": (lambda u: u.op("Gemm", u.x, u.weight, u.bias, alpha=1.0, beta=1.0), False),
    "gemm that transposes": (lambda u: u.op("Gemm", u.x, u.weight, transB=1), True),
    "gemm of a transposed": (lambda u: u.op("Gemm", u.x, u.turned(u.weight, 1, 0)), True),
    "gemm that transposes back": (lambda u: u.op("Gemm", u.x, u.turned(u.weight), transB=1), False),
}


@pytest.mark.parametrize(("spelling", "transposed"), PRODUCTS.values(), ids=PRODUCTS)
def test_a_product_is_found_as_it_is_turned(spelling: Spelling, transposed: bool) -> None:
    uses = Uses()
    y = spelling(uses)
    (product,) = uses.found()
    assert (product.node, product.weight, product.transposed) == (y.producer(), uses.weight, transposed)
    matrix = WEIGHT.T if transposed else WEIGHT
    bias = WEIGHT[0] if len(product.node.inputs) == 3 else 0
    if product.node.domain == "":  # the checker knows the standard domain under this name only
        np.testing.assert_allclose(uses.value_of(y), X @ matrix + bias, atol=1e-6)


@pytest.mark.parametrize(
    "spelling",
    [
        lambda u: u.op("MatMul", u.weight, u.x),
        lambda u: u.op("Gemm", u.weight, u.x),
        lambda u: u.op("Gemm", u.x, u.bias, u.weight),
        lambda u: u.op("Gemm", u.x, u.weight, alpha=0.5),
        lambda u: u.op("Gemm", u.x, u.weight, u.bias, beta=2.0),
        lambda u: u.op("Gemm", u.x, u.weight, transA=1),
        lambda u: u.op("MatMul", u.x, u.turned(u.weight, 0, 1)),
        lambda u: u.op("MatMul", u.x, u.op("Relu", u.weight)),
        lambda u: u.op("Add", u.x, u.weight),
        lambda u: u.op("MatMul", u.x, u.weight, domain="com.example"),
        lambda u: u.op("MatMul", u.x, u.op("Cast", u.weight, domain="com.example")),
    ],
    ids=[
        "left operand",
        "left operand of a gemm",
        "bias",
        "alpha",
        "beta",
        "transposed x",
        "unturned axes",
        "changed values",
        "sum",
        "another domain",
        "cast of another domain",
    ],
)
def test_other_uses_are_none(spelling: Spelling) -> None:
    uses = Uses()
    spelling(uses)
    assert uses.found() == []
    assert list(uses.weight.uses())


def test_every_product_of_a_weight_is_listed() -> None:
    uses = Uses()
    wide = uses.op("Cast", uses.weight, to=1)
    products = [
        (uses.op("MatMul", uses.x, uses.weight), False),
        (uses.op("MatMul", uses.x, uses.turned(wide, 1, 0)), True),
        (uses.op("Gemm", uses.x, wide, transB=1), True),
    ]
    uses.op("Add", uses.x, wide)
    found = {product.node: product.transposed for product in uses.found()}
    assert found == {y.producer(): transposed for y, transposed in products}


def test_an_unused_weight_has_none() -> None:
    assert Uses().found() == []
