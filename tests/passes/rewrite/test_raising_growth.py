"""Raising is linear in nodes: twice the layers or experts are twice the visits, whatever the spelling."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from dense_loop import DenseLoop
from layer_builder import Layer
from spelled_layers import spell_many

from hetc.passes.rewrite.raise_experts import RaiseExperts


def dense_loop(layers: int, experts: int) -> ir.Model:
    build = DenseLoop(hidden=4, inter=4, experts=experts, top_k=2)
    value = build.x
    for layer in range(layers):
        value = build.op("Add", value, build.layer(value, f"model.layers.{layer}.mlp"))
    return build.model(value)


@pytest.mark.parametrize("spelling", ["dense loop", "non_zero", "loop", "gathered"])
@pytest.mark.parametrize("more", ["layers", "experts"])
def test_visits_grow_with_nodes(spelling: str, more: str, monkeypatch: pytest.MonkeyPatch) -> None:
    visits = 0
    inputs = ir.Node.inputs.fget  # type: ignore[attr-defined]

    def counted(node: ir.Node) -> object:
        nonlocal visits
        visits += 1
        return inputs(node)

    monkeypatch.setattr(ir.Node, "inputs", property(counted))

    def count(size: int) -> int:
        nonlocal visits
        layers, experts = (size, 3) if more == "layers" else (1, size)
        if spelling == "dense loop":
            model = dense_loop(layers, experts)
        else:
            model = spell_many(spelling, Layer(experts=experts, hidden=4, inter=4), layers)
        visits = 0
        raising = RaiseExperts()
        raising(model)
        assert [finding.raised for finding in raising.findings] == [True] * layers
        return visits

    small, middle, large = (count(size) for size in (2, 4, 8))
    assert large - middle < 2.4 * (middle - small) + 100  # the part that grows
