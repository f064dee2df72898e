"""Products with weights of few bits -> products with weights that are dequantised when they are read.

    MatMulNBits(x, codes, scales, ..)                           ->  MatMul(x, Transpose(W))   W [N, K]
    MatMulNBits(x, codes, Cast(scales), ..)                     ->  MatMul(x, Cast(Transpose(W)))
    DequantizeLinear(codes, scale, zero_point)                  ->  W
    DequantizeLinear(Gather(codes, i), scale, zero_point)       ->  Gather(W, i)
    Mul(Cast(MatMulInteger(q, codes, z, zero_point)), Mul(s, scale)),
        q, s, z = DynamicQuantizeLinear(x)                      ->  MatMul(x, W)

W is an initializer whose tensor (`hetc.model.quantised_tensor`) computes the numbers each time and remembers
the source's operator. All passes that follow see a model of real numbers; `RestoreQuantised` puts back what
stayed digital. Whatever has another form stays as it is, with the reason in the log.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.block_weights import PACKED_BITS, block_form, block_numbers, fits_blocks
from hetc.model.quantised_tensor import QuantisedForm, QuantisedTensor, constant_values, dequantise
from hetc.model.weights import FLOATS
from hetc.passes.rewrite.free_names import FreeNames
from hetc.passes.rewrite.replace_output import replace_output
from hetc.passes.spellings.constants import constant_tensor

__all__ = ["DequantiseWeights"]

logger = logging.getLogger(__name__)

SUFFIX = re.compile(r"_(?:Q\d|quantized|codes)$")
"""What quantisers add to a weight's name for its codes."""
FUSED = (ir.DataType.INT4, ir.DataType.UINT4, ir.DataType.INT8, ir.DataType.UINT8)
"""Types of codes that ONNX Runtime multiplies by without dequantising them."""


@dataclass(frozen=True)
class _Weight:
    """What becomes an initializer."""

    codes: ir.Value
    form: QuantisedForm
    numbers: Callable[[], NDArray[np.float32]]
    dtype: ir.DataType
    shape: tuple[int, ...]


class _DeclinedError(Exception):
    """Why a node stays as it is."""


class DequantiseWeights(ir.passes.InPlacePass):
    """Makes weights of few bits look like any others, in the graph and its subgraphs; nothing is read yet."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._graph, self._names = model.graph, FreeNames(model.graph)
        self._made: dict[tuple[object, ...], ir.Value] = {}
        modified = False
        for node in list(ir.traversal.RecursiveGraphIterator(model.graph)):
            rewrite = {
                "MatMulNBits": self._blocks,
                "DequantizeLinear": self._linear,
                "MatMulInteger": self._integer,
            }.get(node.op_type)
            if rewrite is None or node.domain not in ("", "com.microsoft") or node.graph is None:
                continue
            read = list(node.inputs)
            try:
                modified |= rewrite(node)
            except _DeclinedError as reason:
                logger.warning("%s %r stays as it is: %s", node.op_type, node.name, reason)
            else:
                _forget_unused(read)
        return ir.passes.PassResult(model, modified=modified)

    def _blocks(self, node: ir.Node) -> bool:
        x, codes, scales, zeros, groups, bias = [*node.inputs, *[None] * 6][:6]
        if any(value is not None for value in node.inputs[6:]):
            raise _DeclinedError("it has inputs after its bias")
        wide = _widened(scales)
        codes, scales = _required(codes, "weight"), _required(wide or scales, "scales")
        zeros, groups = _constant(zeros, "zero points"), _constant(groups, "groups")
        assert x is not None
        form = block_form(codes, scales, zeros, groups, node.attributes)
        K, N = (node.attributes[name].as_int() for name in "KN")
        if form.attributes["bits"].as_int() not in PACKED_BITS:
            raise _DeclinedError(f"its weights have {form.attributes['bits'].as_int()} bits, not 2, 4 or 8")
        if scales.dtype not in FLOATS:
            raise _DeclinedError(f"its scales are {scales.dtype}")
        if not fits_blocks(form):
            raise _DeclinedError(f"weight {codes.shape} and scales {scales.shape} don't fit {K} -> {N}")
        weight = self._weight(_Weight(codes, form, lambda: block_numbers(form), scales.dtype, (N, K)))
        turned = ir.node("Transpose", [weight], {"perm": [1, 0]}, name=f"{node.name}/weight")
        turned.outputs[0].name = f"{node.name}/weight"
        turned.outputs[0].dtype, turned.outputs[0].shape = scales.dtype, ir.Shape([K, N])
        before = [turned]
        if wide is not None:
            before.append(ir.node("Cast", turned.outputs, {"to": ir.DataType.FLOAT.value}))
            before[-1].name = before[-1].outputs[0].name = f"{node.name}/wide"
            before[-1].outputs[0].dtype = ir.DataType.FLOAT
        self._replace(node, node.outputs[0], x, before[-1].outputs[0], before, bias)
        return True

    def _linear(self, node: ir.Node) -> bool:
        codes, scales, zeros = [*node.inputs, None][:3]
        gather = codes.producer() if codes is not None and constant_tensor(codes) is None else None
        if gather is not None:
            if gather.op_type != "Gather" or gather.domain or gather.attributes.get_int("axis", 0) != 0:
                return False  # activations
            codes = gather.inputs[0]
        if constant_tensor(codes) is None:
            return False
        codes, scales = _required(codes, "numbers"), _required(scales, "scale")
        zeros = _constant(zeros, "zero point")
        code, scale = _tensor(codes), _tensor(scales)
        shape = tuple(code.shape.numpy())
        if len(shape) < 1 or (gather is not None and scale.size != 1):
            return False
        output = node.outputs[0]
        dtype = ir.DataType(node.attributes.get_int("output_dtype", 0) or scale.dtype)
        if dtype not in FLOATS or (gather is None and output.is_graph_output()):
            return False
        block = node.attributes.get_int("block_size", 0)
        axis = node.attributes.get_int("axis", 1)
        axis += len(shape) if axis < 0 else 0
        if len(scale.shape) > 1 and not block:
            raise _DeclinedError(f"its scale is {list(scale.shape.numpy())} and it has no block_size")
        line = "a scale a column" if axis == len(shape) - 1 else "a scale a row"
        counted = f"{block} to a scale" if block else "one scale" if scale.size == 1 else line
        form = QuantisedForm(
            node.domain,
            node.op_type,
            (codes, scales, zeros),
            dict(node.attributes),
            f"{_type_name(code)}, {counted}",
            # Where ONNX Runtime fuses it with a product, that rounds by default.
            activation_bits=8 if code.dtype in FUSED else 0,
        )

        def numbers() -> NDArray[np.float32]:
            return dequantise(
                constant_values(codes),
                constant_values(scales),
                None if zeros is None else constant_values(zeros),
                axis,
                block,
            )

        weight = self._weight(_Weight(codes, form, numbers, dtype, shape))
        if gather is None:
            output.replace_all_uses_with(weight)
            assert node.graph is not None
            node.graph.remove(node, safe=True)
            return True
        rows = ir.node("Gather", [weight, gather.inputs[1]], {"axis": 0}, name=gather.name)
        rows.outputs[0].name = f"{gather.name}/rows"
        self._put(node, output, [rows])
        return True

    def _integer(self, node: ir.Node) -> bool:
        quantised, codes, zero, zeros = [*node.inputs, *[None] * 4][:4]
        source = quantised.producer() if quantised is not None else None
        if constant_tensor(codes) is None or source is None or source.op_type != "DynamicQuantizeLinear":
            raise _DeclinedError("it is no product of DynamicQuantizeLinear and a constant")
        product = _only_user(_only_user(node, "Cast"), "Mul")
        factor = None if product is None else next((v for v in product.inputs if _scales(v, source)), None)
        if product is None or factor is None or zero is not source.outputs[2]:
            raise _DeclinedError("its result isn't multiplied by the scales of both operands")
        scales = next(value for value in factor.producer().inputs if value is not source.outputs[1])  # type: ignore[union-attr]
        codes, scales = _required(codes, "weight"), _required(scales, "scales")
        zeros = _constant(zeros, "zero point")
        assert source.inputs[0] is not None
        code, scale = _tensor(codes), _tensor(scales)
        shape = tuple(code.shape.numpy())
        if scale.size not in (1, shape[-1]) or scale.dtype not in FLOATS:
            raise _DeclinedError(f"the scales of its weight are {scale.dtype}{list(scale.shape.numpy())}")
        counted = "one scale" if scale.size == 1 else "a scale a column"
        stored = f"{_type_name(code)}, {counted}"
        form = QuantisedForm("", "MatMulInteger", (codes, scales, zeros), {}, stored, activation_bits=8)

        def numbers() -> NDArray[np.float32]:
            return dequantise(constant_values(codes), constant_values(scales).reshape(-1), _flat(zeros), -1)

        weight = self._weight(_Weight(codes, form, numbers, scale.dtype, shape))
        self._replace(node, product.outputs[0], source.inputs[0], weight, [], None)
        return True

    def _weight(self, found: _Weight) -> ir.Value:
        """The initializer for a weight; nodes that read the same constants alike share it."""
        form = found.form
        attributes = tuple(sorted((name, str(one.value)) for name, one in form.attributes.items()))
        key = (form.operator, *map(id, form.constants), attributes)
        if key not in self._made:
            name = SUFFIX.sub("", found.codes.name or "weight")
            value = ir.Value(name=name, type=ir.TensorType(found.dtype), shape=ir.Shape(found.shape))
            value.const_value = QuantisedTensor(form, found.numbers, found.dtype, found.shape, name)
            self._names.take([], [value])
            self._graph.register_initializer(value)
            self._made[key] = value
        return self._made[key]

    def _replace(
        self,
        node: ir.Node,
        output: ir.Value,
        x: ir.Value,
        weight: ir.Value,
        before: list[ir.Node],
        bias: ir.Value | None,
    ) -> None:
        """Puts `MatMul(x, weight) (+ bias)` in the place of `output`; the product is called as `node` was."""
        product = ir.node("MatMul", [x, weight], name=node.name)
        product.metadata_props.update(node.metadata_props)
        product.outputs[0].name = f"{node.name}/product"
        nodes = [*before, product]
        if bias is not None:
            product.outputs[0].type, product.outputs[0].shape = output.type, output.shape
            nodes.append(ir.node("Add", [product.outputs[0], bias], name=f"{node.name}/bias"))
            nodes[-1].outputs[0].name = f"{node.name}/bias"
        self._put(node, output, nodes)

    def _put(self, node: ir.Node, output: ir.Value, nodes: list[ir.Node]) -> None:
        assert isinstance(node.graph, ir.Graph)
        graph, (new,) = node.graph, nodes[-1].outputs
        self._names.take(nodes, [])
        replace_output(graph, output, new, nodes)


def _widened(scales: ir.Value | None) -> ir.Value | None:
    """The constant of 16 bits that scales are made float32 of; None where they are no such."""
    node = scales.producer() if scales is not None else None
    if node is None or node.op_type != "Cast" or constant_tensor(node.inputs[0]) is None:
        return None
    return node.inputs[0] if ir.DataType(node.attributes["to"].as_int()) == ir.DataType.FLOAT else None


def _scales(value: ir.Value | None, source: ir.Node) -> bool:
    """Whether a value is the product of a constant and the scale of dynamically quantised activations."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Mul" or source.outputs[1] not in node.inputs:
        return False
    return any(constant_tensor(one) is not None for one in node.inputs)


def _only_user(node: ir.Node | None, operator: str) -> ir.Node | None:
    users = [] if node is None or node.outputs[0].is_graph_output() else node.outputs[0].consumers()
    return users[0] if len(users) == 1 and users[0].op_type == operator else None


def _constant(value: ir.Value | None, name: str) -> ir.Value | None:
    """A constant as a value of its own, which stays when its node goes; None for an absent one."""
    tensor = constant_tensor(value)
    if value is None or (value.is_initializer() and tensor is not None):
        return value
    if tensor is None:
        raise _DeclinedError(f"its {name} can't be read: no constant")
    shape = ir.Shape(tensor.shape.numpy())
    return ir.Value(name=value.name, type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)


def _required(value: ir.Value | None, name: str) -> ir.Value:
    found = _constant(value, name)
    if found is None:
        raise _DeclinedError(f"its {name} can't be read: absent")
    return found


def _tensor(value: ir.Value) -> ir.TensorProtocol:
    assert value.const_value is not None
    return value.const_value


def _flat(value: ir.Value | None) -> NDArray[Any] | None:
    return None if value is None else constant_values(value).reshape(-1)


def _type_name(tensor: ir.TensorProtocol) -> str:
    return tensor.dtype.name.lower()


def _forget_unused(values: Iterable[ir.Value | None]) -> None:
    """Takes constants that nothing reads now out of their graph; forms still hold them."""
    for value in values:
        if value is None or value.uses() or not value.is_initializer() or value.is_graph_output():
            continue
        graph = value.graph
        if graph is not None and not value.is_graph_input():
            del graph.initializers[value.name or ""]
