"""Adds each canonical layer's routing to the model's outputs: `routing.L.index`, `routing.L.weight`.

    Expert(Split(Gather(x, Div(TopK(Reshape(top_k_index))))))        -> routing.L.index  [T, K] int64
    Mul(Concat(Expert...), Gather(Reshape(top_k_weight)))            -> routing.L.weight [T, K] float32

Kernels never see either, so a recording graph gives them as outputs of its own.
"""

from __future__ import annotations

import onnx_ir as ir

from hetc.passes.analysis.unit_use import chosen_experts, leads_to_concat
from hetc.plan.units import Unit

__all__ = ["RecordRouting"]


class RecordRouting(ir.passes.InPlacePass):
    """Adds two outputs per MoE layer.

    Args:
        units: The model's units; one expert per layer leads to its routing.
    """

    def __init__(self, units: tuple[Unit, ...]) -> None:
        super().__init__()
        self.units = units

    def requires(self, model: ir.Model) -> None:
        """The experts stand in canonical layers, whose nodes lead to what the router chose."""
        nodes = {node.name: node for node in model.graph}
        for unit in self.units:
            node = nodes.get(unit.nodes[0]) if unit.kind == "expert" else None
            if unit.kind == "expert" and (node is None or chosen_experts(node) is None):
                raise ir.passes.PreconditionError(f"unit {unit.id!r} is not an expert of a canonical layer")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = {node.name: node for node in model.graph}
        experts = [(unit.layer, nodes[unit.nodes[0]]) for unit in self.units if unit.kind == "expert"]
        layers = {layer: node for layer, node in experts if leads_to_concat(node)}
        for layer, expert in layers.items():
            _add_output(model, _index(expert), f"routing.{layer}.index", ir.DataType.INT64)
            _add_output(model, _weight(expert), f"routing.{layer}.weight", ir.DataType.FLOAT)
        return ir.passes.PassResult(model, modified=bool(layers))


def _producer(node: ir.Node, index: int) -> ir.Node:
    value = node.inputs[index]
    producer = value.producer() if value is not None else None
    assert producer is not None, f"node {node.name!r} is not part of a canonical layer"
    return producer


def _index(expert: ir.Node) -> ir.Value:
    """top_k_index: sorted, divided into tokens, gathered and split before an expert sees it."""
    gather = _producer(_producer(expert, 0), 0)
    reshape = _producer(_producer(_producer(gather, 1), 0), 0)
    value = reshape.inputs[0]
    assert reshape.op_type == "Reshape" and value is not None
    return value


def _weight(expert: ir.Node) -> ir.Value:
    """top_k_weight: it is gathered and multiplied to what all experts give."""
    (concat,) = expert.outputs[0].consumers()
    (multiply,) = concat.outputs[0].consumers()
    reshape = _producer(_producer(multiply, 1), 0)
    value = reshape.inputs[0]
    assert reshape.op_type == "Reshape" and value is not None
    return value


def _add_output(model: ir.Model, value: ir.Value, name: str, dtype: ir.DataType) -> None:
    copy = ir.node("Identity", [value], name=name)
    copy.outputs[0].name, copy.outputs[0].dtype = name, dtype
    copy.outputs[0].shape = ir.Shape([None, None])
    model.graph.append(copy)
    model.graph.outputs.append(copy.outputs[0])
