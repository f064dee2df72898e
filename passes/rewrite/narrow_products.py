"""MatMul(x, Transpose(Cast(w))), Gemm(x, Cast(w), bias)  ->  MatMul16(x, w), Add(MatMul16(x, w), bias)

Only for digital products with 16-bit weights. ONNX Runtime would widen those weights each time it opens the
model: for OLMoE-1B-7B 10 seconds of work and 3 GB of memory. The operator reads them where they lie.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from hetc.operators.schemas import DOMAIN, VERSION
from hetc.passes.run_passes import run_passes
from hetc.passes.spellings.products import Product, read_product

__all__ = ["NarrowProducts"]

NARROW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


class NarrowProducts(ir.passes.InPlacePass):
    """For models that load only with hetc's library: `MatMul16` has no body."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [product for node in model.graph if (product := _narrow_product(node))]
        for product in found:
            _replace(product, model.graph)
        if found:
            model.opset_imports[DOMAIN] = VERSION
            run_passes(model, RemoveUnusedNodesPass())
        return ir.passes.PassResult(model, modified=bool(found))


def _narrow_product(node: ir.Node) -> Product | None:
    """A product of float32 with a whole matrix that is stored in 16 bits and widened first."""
    product = read_product(node)
    if product is None or product.turned is None or not product.weight.is_weight:
        return None
    tensor = product.weight.tensor
    widened = any(step.op_type == "Cast" for step, _ in product.weight.steps)
    matrix = product.weight.source.is_initializer() and len(tensor.shape) == 2
    return product if widened and matrix and tensor.dtype in NARROW else None


def _replace(product: Product, graph: ir.Graph) -> None:
    node, (output,) = product.node, product.node.outputs
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    narrow = ir.node(
        "MatMul16",
        [product.data, product.weight.source],
        {"transpose_weight": int(bool(product.turned))},
        domain=DOMAIN,
        name=node.name,
    )
    narrow.metadata_props.update(node.metadata_props)
    new = [narrow]
    if bias is not None:
        narrow.outputs[0].name = f"{output.name}_product"
        new.append(ir.node("Add", [narrow.outputs[0], bias], name=f"{node.name}_bias"))
        new[-1].metadata_props.update(node.metadata_props)
    ir.convenience.replace_nodes_and_values(graph, node, [node], new, [output], [new[-1].outputs[0]])
