"""What stayed digital multiplies by weights of few bits again, as in the source.

    MatMul(x, Transpose(W)), Gemm(x, W)    ->  MatMulNBits(x, codes, scales, ..)
    MatMul(x, W), Gemm(x, W)               ->  Mul(Cast(MatMulInteger(q, codes, z, ..)), Mul(s, scale)),
                                               q, s, z = DynamicQuantizeLinear(x)
    f(W)                                   ->  f(DequantizeLinear(codes, scale, zero_point))
    Gather(W, i)                           ->  DequantizeLinear(Gather(codes, i), scale, zero_point)

W is an initializer of `DequantiseWeights`; which of these it was, its tensor knows. A digital expert with
such weights becomes its function body, whose products are treated likewise. Weights of analog units keep
their numbers, which are computed when they are written.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass, RemoveUnusedNodesPass

from hetc.model.quantised_tensor import QuantisedForm, QuantisedTensor
from hetc.model.weights import forget_measured
from hetc.operators.schemas import DOMAIN, EXPERT_OPERATORS
from hetc.passes.analysis.weight_uses import Product, is_widened, products_of
from hetc.passes.rewrite.free_names import FreeNames
from hetc.passes.rewrite.replace_output import replace_output
from hetc.passes.run_passes import run_passes

__all__ = ["RestoreQuantised"]


PARTS = ("codes", "scales", "zero_points", "groups")
"""What the constants of a form are called that have no name."""


class RestoreQuantised(ir.passes.InPlacePass):
    """Puts back what the source did wherever the plan left it digital.

    Args:
        unit_of: Unit id by node name; nodes that an expert becomes are added.
    """

    def __init__(self, unit_of: MutableMapping[str, str]) -> None:
        super().__init__()
        self.unit_of = unit_of

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        weights = [value for value in model.graph.initializers.values() if _form(value) is not None]
        if not weights:
            return ir.passes.PassResult(model, modified=False)
        self._graph, self._names = model.graph, FreeNames(model.graph)
        self._quantised: dict[ir.Value, list[ir.Value]] = {}
        for node in list(model.graph):
            if node.domain == DOMAIN and node.op_type in EXPERT_OPERATORS and any(map(_form, node.inputs)):
                self._inline(node, model.functions[node.op_identifier()])
        for weight in weights:
            self._restore(weight)
        unused_functions = RemoveUnusedFunctionsPass()  # type: ignore[no-untyped-call]
        run_passes(model, RemoveUnusedNodesPass(), unused_functions)
        forget_measured(model)
        return ir.passes.PassResult(model, modified=True)

    def _inline(self, expert: ir.Node, body: ir.Function) -> None:
        """Puts the nodes of a function body in the place of an expert."""
        values: dict[ir.Value | None, ir.Value | None] = {None: None}
        given = [*expert.inputs, *[None] * (len(body.inputs) - len(expert.inputs))]
        values.update(zip(body.inputs, given, strict=False))
        nodes = []
        for inner in body:
            name = f"{expert.name}/{inner.outputs[0].name}"
            attributes = [
                ir.Attr(own, one.type, expert.attributes[one.ref_attr_name].value)
                if one.ref_attr_name
                else one
                for own, one in inner.attributes.items()
            ]
            node = ir.Node(
                inner.domain, inner.op_type, [values[value] for value in inner.inputs], attributes, name=name
            )
            node.outputs[0].name = name
            if inner.op_type == "Cast":
                node.outputs[0].dtype = ir.DataType(node.attributes["to"].as_int())
            values[inner.outputs[0]] = node.outputs[0]
            nodes.append(node)
        result = values[body.outputs[0]]
        assert result is not None
        self._put(expert, expert.outputs[0], result, nodes)

    def _restore(self, weight: ir.Value) -> None:
        form = _form(weight)
        assert form is not None
        for product in list(products_of(weight)):
            if form.operator == "MatMulNBits" and product.transposed:
                self._block_product(product, form)
            elif form.operator == "MatMulInteger" and not product.transposed:
                self._integer_product(product, form)
        if form.operator == "DequantizeLinear":
            self._linear(weight, form)

    def _block_product(self, product: Product, form: QuantisedForm) -> None:
        node = product.node
        codes, scales, zeros, groups = self._registered(product.weight, form)
        assert scales is not None
        nodes = []
        if scales.dtype != ir.DataType.FLOAT and is_widened(product):
            wide = {"to": ir.DataType.FLOAT.value}
            nodes.append(ir.node("Cast", [scales], wide, name=f"{node.name}/scales"))
            scales = nodes[-1].outputs[0]
            if zeros is not None and zeros.dtype != ir.DataType.UINT8:
                nodes.append(ir.node("Cast", [zeros], wide, name=f"{node.name}/zero_points"))
                zeros = nodes[-1].outputs[0]
        inputs = [node.inputs[0], codes, scales, zeros, groups]
        while inputs[-1] is None:
            inputs.pop()
        self._put_product(product, [*nodes, _node(form, "MatMulNBits", inputs)])

    def _integer_product(self, product: Product, form: QuantisedForm) -> None:
        node, x = product.node, product.node.inputs[0]
        codes, scales, zeros = self._registered(product.weight, form)
        assert x is not None
        nodes = []
        if x not in self._quantised:
            nodes.append(ir.node("DynamicQuantizeLinear", [x], num_outputs=3, name=f"{node.name}/quantised"))
            self._quantised[x] = list(nodes[0].outputs)
        whole, step, zero = self._quantised[x]
        inputs = [whole, codes, zero] if zeros is None else [whole, codes, zero, zeros]
        summed = ir.node("MatMulInteger", inputs, name=f"{node.name}/sum")
        wide = ir.node("Cast", [summed.outputs[0]], {"to": ir.DataType.FLOAT.value}, name=f"{node.name}/wide")
        factor = ir.node("Mul", [step, scales], name=f"{node.name}/scale")
        nodes += [summed, wide, factor, ir.node("Mul", [wide.outputs[0], factor.outputs[0]])]
        self._put_product(product, nodes)

    def _linear(self, weight: ir.Value, form: QuantisedForm) -> None:
        """DequantizeLinear before whatever digital reads the weight; behind it, where rows are looked up."""
        readers = [(node, index) for node, index in weight.uses() if node.domain != DOMAIN]
        codes, scales, zeros = self._registered(weight, form) if readers else form.constants
        assert scales is None or scales.const_value is not None
        for node, index in readers:
            if node.op_type == "Gather" and index == 0 and scales.const_value.size == 1:  # type: ignore[union-attr]
                rows = ir.node("Gather", [codes, node.inputs[1]], {"axis": 0})
                rows.outputs[0].name, rows.name = f"{node.name}/codes", f"{node.name}/codes"
                real = _node(form, node.name or "", [rows.outputs[0], scales, zeros])
                real.outputs[0].name = f"{node.name}/values"
                self._put(node, node.outputs[0], real.outputs[0], [rows, real])
        readers = [(node, index) for node, index in weight.uses() if node.domain != DOMAIN]
        if readers:
            real = _node(form, f"{weight.name}/values", [codes, scales, zeros])
            real.outputs[0].name = f"{weight.name}/values"
            real.outputs[0].type, real.outputs[0].shape = weight.type, weight.shape
            self._names.take([real], [])
            self._graph.insert_before(self._graph[0], real)
            for node, index in readers:
                node.replace_input_with(index, real.outputs[0])

    def _registered(self, weight: ir.Value, form: QuantisedForm) -> tuple[ir.Value | None, ...]:
        """The form's constants, as initializers of the graph."""
        self._graph.opset_imports.setdefault(form.domain, 1)
        for value, part in zip(form.constants, PARTS, strict=False):
            if value is not None and not value.is_initializer():
                value.name = value.name or f"{weight.name}_{part}"
                self._names.take([], [value])
                self._graph.register_initializer(value)
        return form.constants

    def _put_product(self, product: Product, nodes: list[ir.Node]) -> None:
        """Puts nodes in the place of a product; the last one's result is the product."""
        node = product.node
        made = nodes[-1]
        made.name = node.name
        bias = node.inputs[2] if node.op_type == "Gemm" and len(node.inputs) > 2 else None
        if bias is not None:
            nodes.append(ir.node("Add", [made.outputs[0], bias], name=f"{node.name}/bias"))
        for one in nodes:
            for number, output in enumerate(one.outputs):
                output.name = f"{one.name}.{number}"
        self._put(node, node.outputs[0], nodes[-1].outputs[0], nodes)

    def _put(self, old: ir.Node, output: ir.Value, new: ir.Value, nodes: Sequence[ir.Node]) -> None:
        unit = self.unit_of.get(old.name or "")
        for node in nodes:
            for key, value in old.metadata_props.items():
                node.metadata_props.setdefault(key, value)
        graph = old.graph
        assert isinstance(graph, ir.Graph)
        self._names.take(nodes, [])
        replace_output(graph, output, new, nodes)
        if unit is not None:
            self.unit_of.update({node.name or "": unit for node in nodes})


def _form(value: ir.Value | None) -> QuantisedForm | None:
    tensor = None if value is None else value.const_value
    return tensor.form if isinstance(tensor, QuantisedTensor) else None


def _node(form: QuantisedForm, name: str, inputs: Sequence[ir.Value | None]) -> ir.Node:
    """The source's operator with these inputs."""
    inputs = list(inputs)
    while inputs[-1] is None:
        inputs.pop()
    return ir.Node(form.domain, form.operator, inputs, list(form.attributes.values()), name=name)
