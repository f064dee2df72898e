"""Whatever a spelling fails with declines its layer; a graph that can't be searched is bad input."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import pytest
from dense_loop import DenseLoop
from layer_builder import Layer
from spelled_layers import spell

from hetc.base.errors import InvalidInputError
from hetc.passes.rewrite.raise_experts import RaiseExperts
from hetc.passes.spellings.spelling import FoundLayer


class Failing:
    """A spelling that doesn't know what it is given."""

    NAME = "failing"

    def __init__(self, searching: bool) -> None:
        self.searching = searching

    def anchors(self, graph: ir.Graph) -> Iterator[ir.Node]:
        if self.searching:
            raise IndexError("list index out of range")
        yield next(iter(graph))

    def recognise(self, node: ir.Node) -> FoundLayer:
        raise ValueError("axes don't match array\nand more")


def test_any_failure_declines_the_layer() -> None:
    model, _ = spell("non_zero")
    raising = RaiseExperts([Failing(searching=False)])
    assert not raising(model).modified
    assert raising.findings[0].reason == "it can't be read: axes don't match array"


def test_a_graph_that_cannot_be_searched() -> None:
    model, _ = spell("non_zero")
    with pytest.raises(InvalidInputError, match=r"can't be searched for MoE layers .failing.: list index"):
        RaiseExperts([Failing(searching=True)]).call(model)


@pytest.mark.parametrize("perm", [[0], [0, 1, 2], [1, 1]])
def test_weights_turned_by_axes_that_they_lack(perm: list[int]) -> None:
    def turn(model: ir.Model) -> None:
        for node in model.graph:
            if node.op_type == "Transpose" and node.inputs[0] is not None and node.inputs[0].is_initializer():
                node.attributes["perm"] = ir.AttrInt64s("perm", perm)

    model, _ = spell("sorted_split", Layer(gated=False, activation="relu", seed=3), turn)
    raising = RaiseExperts()
    assert not raising(model).modified


def test_an_activation_that_cannot_run() -> None:
    """ONNX Runtime opens it and fails when it runs: three numbers beside rows of five."""
    build = DenseLoop(hidden=6, inter=5, experts=3, top_k=2)

    def activate(z: ir.Value, kind: str) -> ir.Value:
        one = build.constant(np.array([1, 2, 3], np.float32))
        return build.op("Mul", z, build.op("Identity", one))

    build.activate = activate  # type: ignore[method-assign]
    model = build.model(build.layer(build.x, "model.layers.0.mlp"))
    raising = RaiseExperts()
    assert not raising(model).modified
    assert raising.findings[0].reason
