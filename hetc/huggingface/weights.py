"""Point the initializers of a traced graph at the checkpoint's tensors, under the checkpoint's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from hetc.huggingface.checkpoint import StoredTensor
from hetc.huggingface.weight_names import WeightNames
from hetc.passes.canonical_layer import ExpertWeights

__all__ = ["AttachWeights", "expert_weights"]


def expert_weights(
    names: WeightNames, tensors: Mapping[str, StoredTensor], directory: Path
) -> dict[str, list[ExpertWeights]]:
    """Every expert's matrices as initializers that lie in the checkpoint's files, by experts module."""

    def value(found: Mapping[str, str], projection: str) -> ir.Value | None:
        return _value(tensors[found[projection]], directory) if projection in found else None

    experts: dict[str, list[ExpertWeights]] = {}
    for path, found in names.experts.items():
        experts[path] = []
        for one in found:
            up, down = value(one, "up"), value(one, "down")
            assert up is not None and down is not None
            experts[path].append(ExpertWeights(gate=value(one, "gate"), up=up, down=down))
    return experts


class AttachWeights(ir.passes.InPlacePass):
    """W -> W of the checkpoint.

    If it is 16 bits wide, `Gather(W, i) -> Cast(Gather(W, i))`, and any other `f(W) -> f(Cast(W))`.
    """

    def __init__(self, names: WeightNames, tensors: Mapping[str, StoredTensor], directory: Path) -> None:
        """Take the names, the tensors, and the folder that the model and its weights will lie in."""
        super().__init__()
        self.names = names
        self.tensors = tensors
        self.directory = directory

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        initializers = model.graph.initializers
        for parameter in [value for value in initializers.values() if value.const_value is None]:
            name = parameter.name or ""
            key = self.names.parameters[name]
            del initializers[name]
            weight = initializers.get(key)
            if weight is None:
                weight = _value(self.tensors[key], self.directory)
                model.graph.register_initializer(weight)
            parameter.replace_all_uses_with(weight)
        for weight in list(initializers.values()):
            if weight.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
                _cast_at_use(model.graph, weight)
        return ir.passes.PassResult(model, modified=True)


def _value(stored: StoredTensor, directory: Path) -> ir.Value:
    tensor = stored.as_external(directory)
    return ir.val(stored.name, tensor.dtype, tensor.shape, const_value=tensor)


def _cast_at_use(graph: ir.Graph, weight: ir.Value) -> None:
    uses = [(node, index) for node, index in weight.uses() if not node.domain]
    whole = [(node, index) for node, index in uses if not (node.op_type == "Gather" and index == 0)]
    for node, _ in set(uses) - set(whole):
        # An embedding: only the rows that are looked up become float32.
        rows = node.outputs[0]
        cast = _cast(rows, f"{rows.name}.float32")
        rows.replace_all_uses_with(cast.outputs[0], replace_graph_outputs=True)
        cast.replace_input_with(0, rows)
        cast.outputs[0].shape = rows.shape
        rows.type = weight.type
        graph.insert_after(node, cast)
    if whole:
        cast = _cast(weight, f"{weight.name}.float32")
        cast.outputs[0].shape = weight.shape
        graph.insert_before(graph[0], cast)
        for node, index in whole:
            node.replace_input_with(index, cast.outputs[0])


def _cast(value: ir.Value, name: str) -> ir.Node:
    output = ir.val(name, ir.DataType.FLOAT)
    return ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, name=name, outputs=[output])
