"""Our exports as other exporters write the same model: with other names of weights and nodes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from hetc.model.external_tensors import tensor_values
from hetc.operators.schemas import DOMAIN
from hetc.passes.analysis.unit_weights import unit_weights
from hetc.passes.analysis.weight_uses import products_of

__all__ = ["folded", "with_numbered_nodes", "with_numbered_weights", "with_scopes", "with_torchscript_nodes"]


def with_numbered_weights(model: ir.Model, form: str = "val_{}") -> ir.Model:
    """Weights get numbers for names, experts' ones too: what they were is kept nowhere."""
    for number, value in enumerate(list(model.graph.initializers.values())):
        if value.shape is None or not len(value.shape):
            continue
        value.name = form.format(number + 1000)
        if value.const_value is not None:
            value.const_value.name = value.name
    return model


def with_numbered_nodes(model: ir.Model) -> ir.Model:
    """Nodes and values get numbers for names, all but the experts of canonical layers and what users feed."""
    for number, node in enumerate(model.graph):
        if node.domain != DOMAIN:
            node.name = f"node_{number}"
            node.metadata_props.clear()
            for output in node.outputs:
                if not output.is_graph_output():
                    output.name = f"v_{number}_{output.index()}"
    return model


def with_torchscript_nodes(model: ir.Model) -> ir.Model:
    """Products are named after modules: `/model/layers.0/self_attn/q_proj/MatMul`."""
    for node, module in _modules(model):
        node.name = f"/{module.replace('layers.', 'layers#').replace('.', '/').replace('#', '.')}/MatMul"
    return model


def with_scopes(model: ir.Model) -> ir.Model:
    """Products have PyTorch's metadata, which names the modules that they are in."""
    for number, (node, module) in enumerate(_modules(model)):
        parts = module.split(".")
        scopes = [".".join(parts[:count]) for count in range(len(parts) + 1)] + [f"linear_{number}"]
        node.metadata_props["pkg.torch.onnx.name_scopes"] = repr(scopes)
    return model


def folded(model: ir.Model) -> ir.Model:
    """Weights of dense products are turned and widened before they are stored, as constant folding does."""
    for pairs in unit_weights(model).values():
        for _, value in pairs:
            products = list(products_of(value))
            if not products or len(value.uses()) > 1:
                continue
            numbers = tensor_values(value.const_value).astype(np.float32)
            if products[0].transposed:
                numbers = np.ascontiguousarray(numbers.T)
            name = f"{value.name}_t"
            turned = ir.val(name, const_value=ir.tensor(numbers, name=name))
            model.graph.register_initializer(turned)
            products[0].node.replace_input_with(1, turned)
            del products
            _drop(model.graph, value)
    return model


def _modules(model: ir.Model) -> list[tuple[ir.Node, str]]:
    """Products of dense units, and the module that each comes from by its weight's name."""
    found = []
    for pairs in unit_weights(model).values():
        for _, value in pairs:
            module = (value.name or "").removesuffix("_t").removesuffix(".weight")
            found += [(product.node, module) for product in products_of(value)]
    return found


def _drop(graph: ir.Graph, value: ir.Value) -> None:
    """Removes a weight that nothing needs now, with what widened and turned it."""
    for node in list(value.consumers()):
        for user in list(node.outputs[0].consumers()):
            if not user.outputs[0].consumers():
                graph.remove(user, safe=True)
        if not node.outputs[0].consumers():
            graph.remove(node, safe=True)
    del graph.initializers[value.name or ""]
