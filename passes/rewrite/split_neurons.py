"""Parts analog experts with digital neurons in two, so that each device gets a model of its own.

    AnalogExpert(x, gate, up, down, .., neuron_rank)
      ->  Add(AnalogExpert(x, gate', up', down', .., neuron_rank), Expert(x, gate", up", down"))

Weights with one prime are zero where a neuron is digital, and keep their shape, by which noise is drawn and
tiles are cut; those with two primes hold the digital neurons alone. The bias of down is added to the sum; in
both parts zeros stand for it, because all experts of a model have the same inputs. An x of 16 bits is widened
before the parts, and the sum narrowed.

Only experts are parted. Products of attentions, other MLPs and LM heads stay whole: their analog operator
computes what is digital of them, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from hetc.model.external_tensors import tensor_values
from hetc.operators.schemas import DOMAIN, attribute_types
from hetc.passes.analysis.analog_matrices import analog_matrices, analog_nodes, named_inputs, set_input
from hetc.passes.canonical.canonical_layer import ExpertWeights, expert_operator
from hetc.passes.rewrite.add_expert_bodies import AddExpertBodies
from hetc.passes.run_passes import run_passes

__all__ = ["NeuronSum", "SplitNeurons"]


@dataclass(frozen=True)
class NeuronSum:
    """An expert that was parted.

    Attributes:
        unit: The unit's id.
        analog: Name of the tensor that its analog neurons make.
        digital: Name of the tensor that its digital neurons make.
        output: Name of the tensor that is their sum, with the bias.
    """

    unit: str
    analog: str
    digital: str
    output: str


class SplitNeurons(ir.passes.InPlacePass):
    """Parts every `AnalogExpert` some of whose neurons are digital as compiled.

    Attributes:
        sums: After `call`, what was parted, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sums: tuple[NeuronSum, ...] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        experts = [node for node in analog_nodes(model.graph) if node.op_type == "AnalogExpert"]
        self.sums = tuple(
            _Split(model.graph, node, digital).rewrite()
            for node in experts
            if (digital := next(analog_matrices(node)).digital_outputs).any()
        )
        if self.sums:
            run_passes(model, RemoveUnusedNodesPass(), AddExpertBodies())
        return ir.passes.PassResult(model, modified=bool(self.sums))


class _Split:
    """One expert on its way to be parted; `digital [I]` says which neurons are."""

    def __init__(self, graph: ir.Graph, node: ir.Node, digital: NDArray[np.bool_]) -> None:
        self.graph, self.node, self.digital = graph, node, digital
        self.name = node.name or ""
        self.inputs = named_inputs(node)

    def rewrite(self) -> NeuronSum:
        node, bias = self.node, self.inputs.get("down_bias")
        output = node.outputs[0]
        name, kind = output.name or "", output.type
        x = wide = self.inputs["x"]
        if x.dtype != ir.DataType.FLOAT:
            cast = self._node("Cast", [x], f"{self.name}.wide", to=ir.DataType.FLOAT.value)
            self.graph.insert_before(node, cast)
            wide = cast.outputs[0]
        digital = self._digital_expert(wide)
        self._keep_analog(wide)
        analog = node.outputs[0]
        total = self._node("Add", [analog, digital.outputs[0]], f"{self.name}.sum")
        new = [digital, total]
        if bias is not None:
            own = self._bias("down_bias.sum", self._values("down_bias"))
            new.append(self._node("Add", [new[-1].outputs[0], own], f"{self.name}.biased"))
        if x.dtype != ir.DataType.FLOAT:
            new.append(self._node("CastLike", [new[-1].outputs[0], x], f"{self.name}.narrow"))
        self.graph.insert_after(node, new)
        result = new[-1].outputs[0]
        output.replace_all_uses_with(result, replace_graph_outputs=True)
        total.replace_input_with(0, analog)
        analog.name, analog.dtype = f"{name}.analog", ir.DataType.FLOAT
        result.name, result.type = name, kind
        return NeuronSum(
            node.attributes["unit"].as_string(), analog.name, digital.outputs[0].name or "", name
        )

    def _digital_expert(self, x: ir.Value) -> ir.Node:
        """The expert of the digital neurons."""
        parts: dict[str, ir.Value] = {
            side: self._weight(side, digital=True) for side in ("gate", "up", "down") if side in self.inputs
        }
        for bias in ("gate_bias", "up_bias"):
            if bias in self.inputs:
                parts[bias] = self._bias(f"{bias}.digital", self._values(bias)[self.digital])
        if "down_bias" in self.inputs:
            parts["down_bias"] = self._bias("down_bias.digital", 0 * self._values("down_bias"))
        weights = ExpertWeights(**parts)
        operator = expert_operator(weights)
        attributes = self.node.attributes
        names = attribute_types(operator, attributes["activation"].as_string())
        digital = ir.node(
            operator,
            [x, *weights.inputs],
            domain=DOMAIN,
            attributes={name: attributes[name].value for name in names},
            name=f"{self.name}.digital",
        )
        digital.outputs[0].name = f"{self.node.outputs[0].name}.digital"
        return self._stamped(digital)

    def _keep_analog(self, x: ir.Value) -> None:
        """Takes the digital neurons out of the analog node."""
        set_input(self.node, "x", x)
        for side in ("gate", "up", "down"):
            if side in self.inputs:
                set_input(self.node, side, self._weight(side, digital=False))
        if "down_bias" in self.inputs:
            set_input(self.node, "down_bias", self._bias("down_bias.analog", 0 * self._values("down_bias")))

    def _weight(self, side: str, *, digital: bool) -> ir.Value:
        """The weight of one part, made when it is written: a model's experts need not fit in memory."""
        source = self.inputs[side].const_value
        assert source is not None
        transposed = self.node.attributes["transpose_weight"].as_int()
        axis = transposed if side == "down" else 1 - transposed  # along which its neurons lie
        lines = (slice(None),) * axis + (self.digital,)
        shape = list(source.shape.numpy())
        if digital:
            shape[axis] = int(self.digital.sum())

        def compute() -> ir.TensorProtocol:
            values = tensor_values(source)
            if digital:
                return ir.tensor(values[lines], name=name)
            cleared = np.array(values)
            cleared[lines] = 0
            return ir.tensor(cleared, name=name)

        name = f"{self.name}.{side}.{'digital' if digital else 'analog'}"
        lazy = ir.LazyTensor(compute, dtype=source.dtype, shape=ir.Shape(shape), name=name, cache=False)
        return self._register(ir.val(name, const_value=lazy))

    def _values(self, bias: str) -> NDArray[np.float32]:
        source = self.inputs[bias].const_value
        assert source is not None
        values: NDArray[np.float32] = tensor_values(source).astype(np.float32)
        return values

    def _bias(self, name: str, values: NDArray[np.float32]) -> ir.Value:
        name = f"{self.name}.{name}"
        return self._register(ir.val(name, const_value=ir.tensor(values, name=name)))

    def _register(self, value: ir.Value) -> ir.Value:
        self.graph.register_initializer(value)
        return value

    def _node(self, operator: str, inputs: list[ir.Value], name: str, **attributes: int) -> ir.Node:
        node = ir.node(operator, inputs, attributes, name=name)
        node.outputs[0].name = name
        return self._stamped(node)

    def _stamped(self, node: ir.Node) -> ir.Node:
        """The node with its unit, and with an output like the expert's: x and y have one shape."""
        node.outputs[0].dtype, node.outputs[0].shape = ir.DataType.FLOAT, self.node.outputs[0].shape
        unit = self.node.metadata_props.get("hetc.unit")
        if unit is not None:
            node.metadata_props["hetc.unit"] = unit
        return node
