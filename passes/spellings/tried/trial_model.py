"""Runs a region with stand-in weights: writes it as a model of its own for ONNX Runtime.

    MatMul(x, W)               ->  MatMul(MatMul(x, a), b)    a [in, 1], b [1, out] instead of W [in, out]
    Einsum("th,ehi->tei", x, W)  ->  Einsum("th,eh,ei->tei", x, a, b)

A stand-in of rank one is told apart from every other, from its transpose and from any part of another, and
costs no memory: what a layer computes can be found out by running it, without reading one weight.

    Cast(x, float16)  ->  Cast(x, float32)        float16 and bfloat16 constants  ->  float32

What a layer computes is to be told apart from how it rounds: everything of 16 bits is run in float32, as
experts of 16-bit weights will be. ONNX Runtime couldn't run most of bfloat16 on a CPU either.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from hetc.model.external_tensors import tensor_values
from hetc.model.weights import FLOATS
from hetc.passes.spellings.constants import constant_tensor
from hetc.passes.spellings.products import Product
from hetc.passes.spellings.spelling import MismatchError
from hetc.passes.spellings.tried.region import Region
from hetc.passes.spellings.weight_path import trace_weight

__all__ = ["StandIn", "trial_function"]

LARGEST_CONSTANT = 1 << 24
"""Bytes of a constant that is taken into a trial as it is: routers and biases, not experts."""


@dataclass(frozen=True)
class StandIn:
    """Weights of rank one, `inner[e] outer[e]^T` for expert e.

    Attributes:
        inner: `[E, in]`, or `[1, in]` where a product has the weight of one expert.
        outer: `[E, out]`.
    """

    inner: NDArray[np.float32]
    outer: NDArray[np.float32]


def trial_function(
    region: Region,
    outputs: Iterable[ir.Value],
    stand_ins: Mapping[ir.Node, tuple[Product, StandIn]] | None,
    sizes: Mapping[str, int],
    blamed: ir.Node,
) -> Callable[..., list[NDArray[Any]]]:
    """What computes outputs of arrays for the sources of a region, in ONNX Runtime.

    Args:
        region: What to run.
        outputs: What to compute.
        stand_ins: What to use for weights, by the node that multiplies them; None for the weights as they
            are, mapped where they lie in a file and read as the run comes to them.
        sizes: What the symbols in shapes stand for.
        blamed: The node that errors are about.

    Raises:
        MismatchError: From here or from the function: it needs a large weight elsewhere, or a size that
            the sources don't tell, or it can't be run.
    """
    extraction = _Extraction(region, stand_ins, sizes)
    model = extraction.model(list(outputs))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # what one expert made is freed before the next one

    def attempt(call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            reason = str(error).strip().splitlines()[0]
            raise MismatchError(f"it can't be tried out: {reason}", blamed) from error

    providers = ["CPUExecutionProvider"]
    session = attempt(onnxruntime.InferenceSession, model.SerializeToString(), options, providers)

    weights = {name: attempt(_ort_value, tensor) for name, tensor in extraction.weights.items()}

    def run(*arrays: NDArray[Any]) -> list[NDArray[Any]]:
        sources = {
            f"source{index}": onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
            for index, array in enumerate(arrays)
        }
        return [value.numpy() for value in attempt(session.run_with_ort_values, None, sources | weights)]

    return run


def _ort_value(tensor: ir.TensorProtocol) -> onnxruntime.OrtValue:
    """The numbers of a tensor for ONNX Runtime, which doesn't copy them.

    Those that are computed when they are read wait in a file that has no name, not in memory.
    """
    array = tensor_values(tensor)
    if isinstance(tensor, ir.LazyTensor) and array.size:
        with tempfile.TemporaryFile() as file:
            array.tofile(file)
            array = np.memmap(file, array.dtype, "r+", shape=array.shape)
    if tensor.dtype == ir.DataType.BFLOAT16:
        kind = onnx.TensorProto.BFLOAT16
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), kind)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def _widened(kind: ir.DataType) -> ir.DataType:
    return ir.DataType.FLOAT if kind in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16) else kind


def _widened_attribute(node: ir.Node, attribute: ir.Attr) -> ir.Attr:
    """An attribute that names or has a type of 16 bits, with float32 instead."""
    if attribute.name in ("to", "dtype") and attribute.type == ir.AttributeType.INT:
        return ir.AttrInt64(attribute.name, _widened(ir.DataType(attribute.as_int())).value)
    if node.op_type == "ConstantOfShape" and attribute.name == "value":
        numbers = attribute.as_tensor().numpy()
        if numbers.dtype.name in ("float16", "bfloat16"):
            return ir.AttrTensor("value", ir.tensor(numbers.astype(np.float32)))
    return attribute


class _Extraction:
    """Writes nodes after those that they depend on, each value under a new name."""

    def __init__(
        self,
        region: Region,
        stand_ins: Mapping[ir.Node, tuple[Product, StandIn]] | None,
        sizes: Mapping[str, int],
    ) -> None:
        self.region, self.stand_ins, self.sizes = region, stand_ins or {}, sizes
        self.takes_weights = stand_ins is None
        self.weights: dict[str, ir.TensorProtocol] = {}
        self.names: dict[ir.Value, str] = {}
        self.written: dict[ir.Graph, list[onnx.NodeProto]] = {region.graph: []}
        self.constants: list[onnx.TensorProto] = []
        self.fresh = 0

    def model(self, outputs: list[ir.Value]) -> onnx.ModelProto:
        """The model whose inputs are `source0`, ... and `weights`, and its outputs `output0`, ..."""
        inputs = []
        for index, value in enumerate(self.region.sources):
            self.names[value] = f"source{index}"
            kind = _widened(value.dtype or ir.DataType.FLOAT).value
            inputs.append(onnx.helper.make_tensor_value_info(f"source{index}", kind, None))
        for index, value in enumerate(outputs):
            self.add("Identity", [self.name(value)], f"output{index}")
        for name, tensor in self.weights.items():
            inputs.append(onnx.helper.make_tensor_value_info(name, tensor.dtype.value, tensor.shape.numpy()))
        graph = onnx.helper.make_graph(
            self.written[self.region.graph],
            "trial",
            inputs,
            [onnx.ValueInfoProto(name=f"output{index}") for index in range(len(outputs))],
            self.constants,
        )
        opsets = [onnx.helper.make_opsetid(*item) for item in self.region.graph.opset_imports.items()]
        return onnx.helper.make_model(graph, ir_version=10, opset_imports=opsets)

    def add(
        self,
        operator: str,
        inputs: list[str],
        output: str = "",
        where: ir.Graph | None = None,
    ) -> str:
        output = output or self.new_name()
        node = onnx.helper.make_node(operator, inputs, [output])
        self.written[where or self.region.graph].append(node)
        return output

    def new_name(self) -> str:
        self.fresh += 1
        return f"v{self.fresh}"

    def widen(self, name: str) -> str:
        """A value as float32, for whatever reads it."""
        output = self.add("Cast", [name])
        cast = self.written[self.region.graph][-1]
        cast.attribute.append(onnx.helper.make_attribute("to", onnx.TensorProto.FLOAT))
        return output

    def constant(self, numbers: NDArray[Any]) -> str:
        name = self.new_name()
        if numbers.dtype.name in ("float16", "bfloat16"):
            numbers = numbers.astype(np.float32)
        self.constants.append(ir.to_proto(ir.tensor(np.asarray(numbers, order="C"), name=name)))
        return name

    def name(self, value: ir.Value | None) -> str:
        """The name of a value, which is written first if it isn't yet."""
        if value is None:
            return ""
        if value in self.names:
            return self.names[value]
        node = value.producer()
        tensor = constant_tensor(value)
        if tensor is not None and self.takes_weights and tensor.dtype in FLOATS and len(tensor.shape) > 1:
            name = self.new_name()
            self.weights[name] = tensor
            self.names[value] = name if tensor.dtype == ir.DataType.FLOAT else self.widen(name)
        elif tensor is not None:
            if tensor.nbytes > LARGEST_CONSTANT:
                reader = value.consumers()[0]
                raise MismatchError(f"weight {value.name!r} isn't an expert's", reader)
            self.names[value] = self.constant(tensor_values(tensor))
        elif node is None:
            self.names[value] = self.new_name()  # an input of a subgraph
        elif node in self.stand_ins:
            self.write_product(node, *self.stand_ins[node])
        elif self.region.is_shape_of_outside(node):
            self.names[value] = self.constant(self.shape(node))
        else:
            self.write(node)
        return self.names[value]

    def shape(self, node: ir.Node) -> NDArray[np.int64]:
        """What a Shape node says of a value outside of the region."""
        value = node.inputs[0]
        if value is None or value.shape is None:
            raise MismatchError("reads a shape that isn't known", node)
        start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(value.shape))
        sizes = []
        for size in list(value.shape)[start:end]:
            number = size if isinstance(size, int) else size.evaluate(self.sizes)
            if not isinstance(number, int):
                raise MismatchError(f"the size {size} of {value.name!r} isn't known from the tokens", node)
            sizes.append(number)
        return np.array(sizes, np.int64)

    def write(self, node: ir.Node, rename: Mapping[ir.Value, str] | None = None) -> list[str]:
        """Writes a node; with `rename`, a second time, with other inputs."""
        assert node.graph is not None
        inputs = [(rename or {}).get(value) or self.name(value) for value in node.inputs]  # type: ignore[arg-type]
        proto = onnx.NodeProto(op_type=node.op_type, domain=node.domain, input=inputs)
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                body = self.write_graph(attribute.as_graph())
                proto.attribute.append(onnx.helper.make_attribute(attribute.name, body))
            else:
                proto.attribute.append(ir.to_proto(_widened_attribute(node, attribute)))
        outputs = [self.new_name() for _ in node.outputs]
        proto.output.extend(outputs)
        if rename is None:
            self.names.update(zip(node.outputs, outputs, strict=True))
        self.written[node.graph].append(proto)
        return outputs

    def write_graph(self, body: ir.Graph) -> onnx.GraphProto:
        self.written[body] = []
        proto = onnx.GraphProto(name="body")
        for value in body.inputs:
            info = ir.to_proto(value)
            info.name = self.name(value)
            proto.input.append(info)
        for value in body.outputs:
            # An output of its own: the value may lie outside of the body.
            name = self.add("Identity", [self.name(value)], where=body)
            proto.output.append(onnx.ValueInfoProto(name=name))
        proto.node.extend(self.written[body])
        return proto

    def write_product(self, node: ir.Node, product: Product, stand_in: StandIn) -> None:
        inner, outer = self.factor(product, stand_in.inner, True), self.factor(product, stand_in.outer, False)
        graph = node.graph
        if product.letters is not None:
            self.names[node.outputs[0]] = self.write_einsum(node, product, inner, outer)
            return
        data = self.name(product.data)
        if product.on_left:
            result = self.add("MatMul", [outer, self.add("MatMul", [inner, data], where=graph)], where=graph)
        else:
            result = self.add("MatMul", [self.add("MatMul", [data, inner], where=graph), outer], where=graph)
        if node.op_type == "Gemm" and len(node.inputs) > 2 and node.inputs[2] is not None:
            result = self.add("Add", [result, self.name(node.inputs[2])], where=graph)
        self.names[node.outputs[0]] = result

    def write_einsum(self, node: ir.Node, product: Product, inner: str, outer: str) -> str:
        """The Einsum with two factors in the place of the weight."""
        terms, _, result = node.attributes["equation"].as_string().replace(" ", "").partition("->")
        operands, letters = terms.split(","), product.letters
        assert letters is not None
        place = next(n for n, value in enumerate(node.inputs) if trace_weight(value) is not None)
        own = operands[place]
        operands[place : place + 1] = [own.replace(own[axis], "") for axis in (letters.outer, letters.inner)]
        names = [self.name(value) for n, value in enumerate(node.inputs) if n != place]
        output = self.add("Einsum", [*names[:place], inner, outer, *names[place:]], where=node.graph)
        equation = f"{','.join(operands)}->{result}"
        self.written[node.graph][-1].attribute.append(onnx.helper.make_attribute("equation", equation))  # type: ignore[index]
        return output

    def factor(self, product: Product, numbers: NDArray[np.float32], inner: bool) -> str:
        """One of the two factors, where the weight goes: inner is `[in, 1]`, or turned for a left operand."""
        if product.letters is not None:
            kept, expert = product.letters.inner if inner else product.letters.outer, product.letters.expert
            return self.constant(numbers[0] if expert is None else numbers.T if kept < expert else numbers)
        column = inner != product.on_left
        table = numbers[:, :, None] if column else numbers[:, None, :]
        _, choice = product.weight.split()
        if not choice:
            stacks = product.weight.view().shape[:-2]
            return self.constant(table.reshape(*stacks, *table.shape[1:]))
        # The stand-ins of all experts lie as their weights do, and pass the same nodes from the choice on.
        name = self.constant(table.swapaxes(1, 2) if product.weight.turns % 2 else table)
        for step, output in choice:
            name = self.write(step, {step.inputs[0]: name})[output]  # type: ignore[dict-item]
        return name
