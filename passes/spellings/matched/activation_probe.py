"""Says which activation nodes compute.

    y = Mul(Mul(g, Sigmoid(g)), u)  ->  silu, gate g, up u

They aren't matched one by one, since exporters spell activations in many ways: they are run on a grid of
numbers and compared with the activations that hetc knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from hetc.operators.activations import NEEDS_GATE
from hetc.passes.spellings.activation_choices import (
    ALIKE,
    MOST_NUMBERS,
    attribute_choices,
    known_activations,
    node_numbers,
)
from hetc.passes.spellings.constants import small_constant
from hetc.passes.spellings.spelling import MismatchError
from hetc.runtimes.reference.expert import hidden

__all__ = ["ActivationReading", "read_activation"]

HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
TOLERANCE = 2e-5
"""Largest difference on the grid, relative to 1 + |value|; the two nearest, gelu and gelu_tanh, have 5e-4."""
TOLERANCE_16 = 1e-3
"""The same beside 16-bit weights, where the constants are rounded too; the nearest activation counts."""


@dataclass(frozen=True, order=True)
class ActivationReading:
    """One activation that nodes may be.

    Attributes:
        error: How far off it is.
        activation: A name in `hetc.operators.activations.ACTIVATIONS`.
        order: Which inputs are gate and up; one input for an expert without gate.
        attributes: What nodes with this activation have besides.
    """

    error: float
    activation: str
    order: tuple[int, ...]
    attributes: tuple[tuple[str, float], ...] = ()


def read_activation(
    nodes: Sequence[ir.Node],
    inputs: Sequence[ir.Value],
    output: ir.Value,
    weight_type: ir.DataType | None,
    blamed: ir.Node,
) -> ActivationReading:
    """The activation that nodes compute.

    Args:
        nodes: Elementwise nodes, each after those that it depends on.
        inputs: What they compute from, one or two products.
        output: What they compute.
        weight_type: Type of the weights beside them; with 16 bits, constants are rounded too.
        blamed: The node that the error is about.

    Raises:
        MismatchError: They compute no known activation, or read what isn't one number.
    """
    reading = _nearest_activation(_as_model(nodes, inputs, output, blamed), len(inputs))
    if reading is None or reading.error > (TOLERANCE_16 if weight_type in HALF else TOLERANCE):
        raise MismatchError(f"the activation is none of {known_activations()}", blamed, matched=2)
    return reading


def _as_model(
    nodes: Sequence[ir.Node], inputs: Sequence[ir.Value], output: ir.Value, blamed: ir.Node
) -> bytes:
    """The nodes in float32, as a serialized model of `input0` and `input1`.

    Other experts' equal nodes give equal bytes.
    """
    names = {value: f"input{index}" for index, value in enumerate(inputs)}
    graph = onnx.GraphProto(name="activation")
    for part in nodes:
        for value in part.inputs:
            if value is not None and value not in names:
                number = small_constant(value)
                if number is None or number.size != 1:
                    raise MismatchError(f"{value.name!r} is not one number", part)
                names[value] = f"constant{len(names)}"
                wide = number if number.dtype.kind == "i" else number.astype(np.float32)
                graph.initializer.append(ir.to_proto(ir.tensor(np.array(wide), name=names[value])))
        for value in part.outputs:
            names[value] = f"value{len(names)}"
        proto = ir.to_proto(part)
        proto.name = ""
        del proto.input[:], proto.output[:], proto.metadata_props[:]
        proto.input.extend(names[value] if value is not None else "" for value in part.inputs)
        proto.output.extend(names[value] for value in part.outputs)
        for attribute in proto.attribute:
            if part.op_type == "Cast" and attribute.name == "to" and attribute.i in HALF:
                attribute.i = ir.DataType.FLOAT
        graph.node.append(proto)
    for value in inputs:
        graph.input.append(onnx.helper.make_tensor_value_info(names[value], ir.DataType.FLOAT, [None]))
    graph.output.append(onnx.ValueInfoProto(name=names[output]))
    assert blamed.graph is not None
    opsets = [onnx.helper.make_opsetid(*item) for item in sorted(blamed.graph.opset_imports.items())]
    serialized: bytes = onnx.helper.make_model(graph, ir_version=10, opset_imports=opsets).SerializeToString()
    return serialized


@lru_cache(maxsize=64)
def _nearest_activation(model: bytes, products: int) -> ActivationReading | None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    grids = list(_grids(products))
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (result,) = session.run(None, {f"input{index}": grid for index, grid in enumerate(grids)})
    except Exception:  # ONNX Runtime has many kinds, and all mean that it cannot run these nodes
        return None
    if not isinstance(result, np.ndarray) or result.shape != grids[0].shape or result.dtype != np.float32:
        return None

    def error(expected: NDArray[np.float32]) -> float:
        return float(np.max(np.abs(result - expected) / (1 + np.abs(expected))))

    readings = []
    numbers = _numbers(model)
    for order in permutations(range(products)):
        gate, up = (None, grids[0]) if products == 1 else (grids[order[0]], grids[order[1]])
        for name in (name for names in ALIKE for name in names):
            if gate is not None or name not in NEEDS_GATE:
                for attributes in attribute_choices(name, numbers):
                    expected = hidden(gate, up, name, **attributes)
                    readings.append(
                        ActivationReading(error(expected), name, order, tuple(attributes.items()))
                    )
    return min(readings)


def _numbers(model: bytes) -> set[float]:
    """What the attributes of an activation may be, of the constants of the model; none where it has many."""
    graph = ir.from_proto(onnx.load_from_string(model)).graph
    found = {number for node in graph for number in node_numbers(node)}
    for value in graph.initializers.values():
        numbers = small_constant(value)
        if numbers is not None and numbers.dtype == np.float32 and numbers != 0:
            found.add(abs(float(numbers.item())))
    return found if len(found) <= MOST_NUMBERS else set()


def _grids(count: int) -> Iterator[NDArray[np.float32]]:
    """Numbers from -12 to 12, each grid in another order; small ones lie closer."""
    spread = np.linspace(-1, 1, 4001, dtype=np.float32)
    for index in range(count):
        yield np.random.default_rng(index).permutation(12 * spread * np.abs(spread))
