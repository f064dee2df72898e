"""Point the initializers of a traced graph at the checkpoint's tensors, under the checkpoint's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from hetc.huggingface.checkpoint import StoredTensor
from hetc.huggingface.export.weight_names import WeightPlaces
from hetc.huggingface.quantised.kept import KeptWeight
from hetc.model.block_weights import block_form, block_numbers
from hetc.model.quantised_tensor import QuantisedTensor
from hetc.passes.canonical.canonical_layer import ExpertWeights

__all__ = ["AttachWeights", "expert_weights"]

PART_TYPES = {
    "U8": ir.DataType.UINT8,
    "F16": ir.DataType.FLOAT16,
    "BF16": ir.DataType.BFLOAT16,
    "F32": ir.DataType.FLOAT,
}
"""Types of the parts of weights that stay packed."""


def expert_weights(places: WeightPlaces, directory: Path) -> dict[str, list[ExpertWeights]]:
    """Every expert's constants as initializers that lie in files of `directory`, by experts module."""

    def expert(found: Mapping[str, StoredTensor | KeptWeight]) -> ExpertWeights:
        return ExpertWeights(**{name: _value(stored, directory) for name, stored in found.items()})

    return {path: [expert(found) for found in experts] for path, experts in places.experts.items()}


class AttachWeights(ir.passes.InPlacePass):
    """W -> W of the checkpoint.

    If it is 16 bits wide, `Gather(W, i) -> Cast(Gather(W, i))`, and any other `f(W) -> f(Cast(W))`.
    """

    def __init__(self, parameters: Mapping[str, StoredTensor | KeptWeight], directory: Path) -> None:
        """Take the place of each parameter, and the folder that the model and its weights will lie in."""
        super().__init__()
        self.parameters = parameters
        self.directory = directory

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        initializers = model.graph.initializers
        for parameter in [value for value in initializers.values() if value.const_value is None]:
            name = parameter.name or ""
            stored = self.parameters[name]
            del initializers[name]
            weight = initializers.get(stored.name)
            if weight is None:
                weight = _value(stored, self.directory)
                model.graph.register_initializer(weight)
            parameter.replace_all_uses_with(weight)
        for weight in list(initializers.values()):
            if weight.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
                _cast_at_use(model.graph, weight)
        return ir.passes.PassResult(model, modified=True)


def _value(stored: StoredTensor | KeptWeight, directory: Path) -> ir.Value:
    tensor = _kept(stored, directory) if isinstance(stored, KeptWeight) else stored.as_external(directory)
    return ir.val(stored.name, tensor.dtype, tensor.shape, const_value=tensor)


def _kept(weight: KeptWeight, directory: Path) -> QuantisedTensor:
    """A packed weight as numbers that nobody reads: `RestoreQuantised` makes its products MatMulNBits."""

    def part(stored: StoredTensor) -> ir.Value:
        dtype, shape = PART_TYPES[stored.dtype], ir.Shape(stored.shape)
        place = (stored.file.name, stored.offset, stored.length, dtype)
        tensor = ir.ExternalTensor(*place, shape=shape, name=stored.name, base_dir=directory)
        return ir.val(stored.name, dtype, shape, const_value=tensor)

    codes, scales, *zeros = map(part, weight.parts)
    outputs, inputs = weight.shape
    sizes = {"K": inputs, "N": outputs, "bits": weight.bits, "block_size": weight.block_size}
    attributes = {name: ir.AttrInt64(name, size) for name, size in sizes.items()}
    form = block_form(codes, scales, zeros[0] if zeros else None, None, attributes)
    dtype = PART_TYPES[weight.parts[1].dtype]
    return QuantisedTensor(form, lambda: block_numbers(form), dtype, weight.shape, weight.name)


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
