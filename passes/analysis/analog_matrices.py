"""Reads a lowered graph: which matrix stands on which crossbars, with its stream, range, bound and scale.

Where a plan places single neurons, some inputs or outputs of a matrix are digital. Slices and tiles are cut
from the whole matrix all the same; what is digital leaves them (docs/operators.md, Digital neurons).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.external_tensors import tensor_values
from hetc.model.weights import read_tensor
from hetc.operators.schemas import INPUTS
from hetc.passes.analysis.cut_partitions import target_of
from hetc.runtimes.reference.layout import Layout, Mask, lay_out, split

__all__ = [
    "AnalogMatrix",
    "analog_matrices",
    "analog_nodes",
    "column_norms",
    "crossbar_slices",
    "distinct_matrices",
    "named_inputs",
    "set_input",
    "weight_scale",
]

_EXPERT_SITES = {"gate": "in", "up": "in", "down": "mid"}
_RANKS = {
    "w": ("input_rank", "output_rank"),
    "gate": (None, "neuron_rank"),
    "up": (None, "neuron_rank"),
    "down": ("neuron_rank", None),
}
"""Which inputs of a node rank the inputs and outputs of a matrix."""


@dataclass(frozen=True)
class AnalogMatrix:
    """One matrix of an analog node.

    Attributes:
        node: The `AnalogMatMul` or `AnalogExpert`.
        weight_input: Name of the node's input that is the matrix: `w`, `gate`, `up`, `down`.
        weight: The initializer.
        stream: Number of its random stream.
        input_range: Constant `[S]`, or None where it is taken from each vector.
        adc_bound: Constant `[S, N]` or `[S, 1]`, or None where it is out_bound x weight scale.
        weight_scale: Constant `[S, N]` or `[S, 1]`, or None where it is each column slice's largest weight.
        input_rank: Constant `[K]`, in which order inputs become digital; None where none does.
        output_rank: Constant `[N]`, likewise for outputs.
    """

    node: ir.Node
    weight_input: str
    weight: ir.Value
    stream: int
    input_range: ir.Value | None
    adc_bound: ir.Value | None
    weight_scale: ir.Value | None
    input_rank: ir.Value | None
    output_rank: ir.Value | None

    @property
    def unit(self) -> str:
        """Id of the unit that it belongs to."""
        return self.node.attributes["unit"].as_string()

    @property
    def transposed(self) -> bool:
        """True where the weight is `[outputs, inputs]`."""
        return bool(self.node.attributes["transpose_weight"].as_int())

    @property
    def shape(self) -> tuple[int, int]:
        """Inputs K and outputs N, however the weight is stored."""
        assert self.weight.const_value is not None
        first, second = self.weight.const_value.shape.numpy()
        return (second, first) if self.transposed else (first, second)

    @property
    def digital_inputs(self) -> Mask:
        """`[K]`: which inputs are digital as compiled."""
        return self._digital(self.input_rank, self.shape[0])

    @property
    def digital_outputs(self) -> Mask:
        """`[N]`: which outputs are digital as compiled."""
        return self._digital(self.output_rank, self.shape[1])

    @property
    def layout(self) -> Layout:
        """The analog inputs of each K-slice, the analog outputs, and their column tiles."""
        inputs, outputs = self.shape
        rows, columns = (self.node.attributes[f"tile_{side}"].as_int() for side in ("rows", "columns"))
        return lay_out(inputs, outputs, rows, columns, self.digital_inputs, self.digital_outputs)

    def _digital(self, ranks: ir.Value | None, lines: int) -> Mask:
        if ranks is None:
            return np.zeros(lines, bool)
        assert ranks.const_value is not None
        digital: Mask = tensor_values(ranks.const_value) < self.node.attributes["digital_count"].as_int()
        return digital

    @property
    def site(self) -> str:
        """The crossbar input by its name in plans: `in` or `mid` of an expert, else the weight's name."""
        return _EXPERT_SITES.get(self.weight_input, self.weight.name or "")

    def input_name(self, kind: str) -> str:
        """Name of the node's input that is this matrix's `weight`, `weight_scale` or `adc_bound`."""
        return self.weight_input if kind == "weight" else f"{_prefix(self.weight_input)}{kind}"


def analog_nodes(graph: ir.Graph) -> list[ir.Node]:
    """The analog nodes in order."""
    return [node for node in graph if target_of(node) == "analog"]


def analog_matrices(node: ir.Node) -> Iterator[AnalogMatrix]:
    """The matrices of one analog node, in order of its inputs."""
    inputs = named_inputs(node)
    for name in ("w", "gate", "up", "down"):
        if name in inputs:
            prefix = _prefix(name)
            yield AnalogMatrix(
                node,
                name,
                inputs[name],
                node.attributes[f"{prefix}stream"].as_int(),
                inputs.get(f"{_EXPERT_SITES.get(name, 'input')}_range"),
                inputs.get(f"{prefix}adc_bound"),
                inputs.get(f"{prefix}weight_scale"),
                *(None if rank is None else inputs.get(rank) for rank in _RANKS[name]),
            )


def distinct_matrices(graph: ir.Graph) -> list[AnalogMatrix]:
    """Every analog matrix in order, once, however many nodes use it."""
    found: dict[int, AnalogMatrix] = {}
    for node in analog_nodes(graph):
        for matrix in analog_matrices(node):
            found.setdefault(matrix.stream, matrix)
    return list(found.values())


def named_inputs(node: ir.Node) -> dict[str, ir.Value]:
    """The inputs that the node has, by the names of docs/operators.md."""
    pairs = zip(INPUTS[node.op_type], node.inputs, strict=False)
    return {name: value for name, value in pairs if value is not None}


def set_input(node: ir.Node, name: str, value: ir.Value) -> None:
    """Gives the node its input `name`, those before it staying as they are or absent."""
    index = list(INPUTS[node.op_type]).index(name)
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def weight_scale(model: ir.Model, matrix: AnalogMatrix) -> NDArray[np.float32]:
    """The weight that g_max stands for, `[S, N]`: the node's constant, or the largest analog weight of each
    column slice or tile, by `scale_mode`."""
    attributes = matrix.node.attributes
    columns = matrix.shape[1]
    if matrix.weight_scale is not None:
        given = read_tensor(model, matrix.weight_scale.name or "")
        return np.broadcast_to(given, (len(given), columns))
    slices = crossbar_slices(matrix, read_tensor(model, matrix.weight.name or ""))
    largest = np.stack([np.abs(part).max(axis=0) for part in slices])
    if attributes["scale_mode"].as_string() == "tile":
        for tile in split(columns, attributes["tile_columns"].as_int()):
            largest[:, tile] = largest[:, tile].max(axis=1, keepdims=True)
    return largest


def column_norms(model: ir.Model, matrix: AnalogMatrix) -> NDArray[np.float32]:
    """Euclidean norm of the analog weights of each column slice, `[S, N]`."""
    slices = crossbar_slices(matrix, read_tensor(model, matrix.weight.name or ""))
    return np.stack([np.linalg.norm(part, axis=0) for part in slices])


def crossbar_slices(matrix: AnalogMatrix, weight: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
    """What crossbars hold of a weight of the matrix's shape and orientation: `[rows, N]` for each K-slice.

    All lines of the whole matrix are there; those that are digital hold zeros.
    """
    rows = weight.T if matrix.transposed else weight
    digital_inputs, digital_outputs = matrix.digital_inputs, matrix.digital_outputs
    for part in split(len(rows), matrix.node.attributes["tile_rows"].as_int()):
        held = rows[part].astype(np.float32)
        held[digital_inputs[part]] = 0
        held[:, digital_outputs] = 0
        yield held


def _prefix(weight_input: str) -> str:
    return "" if weight_input == "w" else f"{weight_input}_"
