"""hetc::Experts(x, top_k_index, top_k_weight) -> the canonical MoE layer.

`Experts` is the placeholder that an exporter leaves where a framework's stacked experts stood. It carries
`path` (the module's name, such as `model.layers.3.mlp.experts`), `layer` (`layers.3`), `top_k`,
`hidden_size`, and what it hands to every expert: `transpose_weight`, `activation` and the activation's own
attributes. The pass holds the weights by path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from hetc.base.errors import InvalidInputError
from hetc.operators.activations import ACTIVATION_ATTRIBUTES
from hetc.operators.schemas import DOMAIN
from hetc.passes.canonical.canonical_layer import ExpertWeights, build_canonical_layer, expert_operator
from hetc.passes.rewrite.add_expert_bodies import AddExpertBodies

__all__ = ["PLACEHOLDER", "ExpandExperts"]

PLACEHOLDER = "Experts"


class ExpandExperts(ir.passes.InPlacePass):
    """Expand every placeholder, and add the function bodies of the operators that this brings in.

    Raises:
        InvalidInputError: a placeholder without weights, or experts that one function body cannot serve.
    """

    def __init__(self, weights: Mapping[str, Sequence[ExpertWeights]]) -> None:
        """Take the experts of each placeholder, in order of expert index, by its `path`."""
        super().__init__()
        self.weights = weights

    def requires(self, model: ir.Model) -> None:
        """Every placeholder has weights, of types that one operator takes."""
        for node in _placeholders(model.graph):
            path = node.attributes["path"].as_string()
            if not self.weights.get(path):
                raise InvalidInputError(f"{path}: the checkpoint has no weights for these experts")
            for index, expert in enumerate(self.weights[path]):
                try:
                    expert_operator(expert)
                except ValueError as error:
                    raise InvalidInputError(f"{path}, expert {index}: {error}") from error

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        placeholders = _placeholders(model.graph)
        for node in placeholders:
            self._expand(model, node)
        if placeholders:
            AddExpertBodies()(model)
        return ir.passes.PassResult(model, modified=bool(placeholders))

    def _expand(self, model: ir.Model, node: ir.Node) -> None:
        path = node.attributes["path"].as_string()
        experts = self.weights[path]
        x, top_k_index, top_k_weight = node.inputs
        assert x is not None and top_k_index is not None and top_k_weight is not None
        layer = build_canonical_layer(
            x,
            top_k_index,
            top_k_weight,
            experts,
            layer=node.attributes["layer"].as_string(),
            top_k=node.attributes["top_k"].as_int(),
            hidden_size=node.attributes["hidden_size"].as_int(),
            activation=node.attributes["activation"].as_string(),
            activation_attributes={
                name: node.attributes[name].as_float()
                for name in ACTIVATION_ATTRIBUTES.get(node.attributes["activation"].as_string(), ())
            },
            transpose_weight=bool(node.attributes["transpose_weight"].as_int()),
        )
        for expert in experts:
            for value in expert.inputs:
                if value is not None:
                    model.graph.register_initializer(value)
        for constant in layer.constants:
            model.graph.register_initializer(constant)
        output = node.outputs[0]
        layer.output.shape = output.shape
        model.graph.insert_before(node, layer.nodes)
        output.replace_all_uses_with(layer.output, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)


def _placeholders(graph: ir.Graph) -> list[ir.Node]:
    return [node for node in graph if node.op_identifier() == (DOMAIN, PLACEHOLDER, "")]
