"""Gives the crossbars of an expert that is hardly used to a second copy of one that is used much.

    y_p = E_p(x_p);  y_r = E_r(x_r)  ->  y_p = (E_p(x_p) + E_r'(x_p)) / 2;  y_r = x_r, of no rows

E_r' has the weights of E_p: two programmings of the same matrices, whose mean has half the variance of one's
noise. The router never chooses r again, so that the model changes as much as r mattered. In the manner of
ROMER (arXiv 2605.11800), which replaces rarely used experts; what it replaces them by is our choice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from hetc.model.external_tensors import tensor_values
from hetc.passes.analysis.unit_use import leads_to_concat, require_canonical
from hetc.passes.analysis.unit_weights import unit_weights
from hetc.passes.analysis.weight_uses import products_of

__all__ = ["ReplaceExperts"]

logger = logging.getLogger(__name__)

NEVER = np.float32(-1e9)
"""What is added to the router's logit of an expert that isn't to be chosen."""


class ReplaceExperts(ir.passes.InPlacePass):
    """Replaces experts.

    Args:
        pairs: Id of the expert that goes -> id of the expert of its layer that gets its place. Each expert is
            in one pair at most.

    Attributes:
        replaced: The experts that went. The log has the reasons for others.
    """

    def __init__(self, pairs: Mapping[str, str]) -> None:
        super().__init__()
        self.pairs = pairs
        self.replaced: list[str] = []

    def requires(self, model: ir.Model) -> None:
        """MoE layers are canonical, and both experts of every pair are there."""
        require_canonical(model)
        names = {node.name for node in model.graph}
        for expert in (one for pair in self.pairs.items() for one in pair):
            if expert not in names:
                raise ir.passes.PreconditionError(f"the model has no expert {expert!r}")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = {node.name: node for node in model.graph}
        routers = _routers(model)
        for rare, popular in self.pairs.items():
            layer, _, index = rare.partition(".experts.")
            if layer not in routers:
                logger.info("%s is not replaced: no product is known to be its layer's router", rare)
                continue
            if not all(leads_to_concat(nodes[expert]) for expert in (rare, popular)):
                logger.info("%s is not replaced: it or %s is already one of two copies", rare, popular)
                continue
            experts = sum(str(name).startswith(f"{layer}.experts.") for name in nodes)
            _exclude(model.graph, routers[layer], int(index), experts)
            _double(model.graph, nodes[rare], nodes[popular])
            self.replaced.append(rare)
        return ir.passes.PassResult(model, modified=bool(self.replaced))


def _routers(model: ir.Model) -> dict[str, ir.Node]:
    """The product that gives each layer's router logits."""
    found = {}
    for (kind, layer), weights in unit_weights(model).items():
        for projection, value in weights if kind == "router" else ():
            if projection != "shared_expert_gate":
                found.update({f"layers.{layer}": product.node for product in products_of(value)})
    return found


def _exclude(graph: ir.Graph, router: ir.Node, expert: int, experts: int) -> None:
    """Adds a bias to the router's logits that keeps an expert from being chosen."""
    name = f"{router.name}.excluded"
    if name in graph.initializers:
        bias = graph.initializers[name].const_value
        assert bias is not None
        numbers = bias.numpy().copy()
        numbers[expert] = NEVER
        graph.initializers[name].const_value = ir.tensor(numbers, name=name)
        return
    numbers = np.zeros(experts, np.float32)
    numbers[expert] = NEVER
    bias_value = ir.val(name, const_value=ir.tensor(numbers, name=name))
    graph.register_initializer(bias_value)
    (logits,) = router.outputs
    users = list(logits.uses())
    shift = ir.node("Add", [logits, bias_value], name=f"{router.name}/exclude")
    graph.insert_after(router, shift)
    for user, index in users:
        user.replace_input_with(index, shift.outputs[0])


def _double(graph: ir.Graph, rare: ir.Node, popular: ir.Node) -> None:
    """Makes `rare` a second `popular`, and their mean what `popular` puts out."""
    no_rows = rare.inputs[0]
    (y_rare,), (y_popular,) = rare.outputs, popular.outputs
    (concat,) = (node for node, _ in y_rare.uses())
    total = ir.node("Add", [y_popular, y_rare], name=f"{popular.name}/sum")
    half = ir.val(f"{popular.name}/half", const_value=ir.tensor(np.float32(0.5), name=f"{popular.name}/half"))
    graph.register_initializer(half)
    mean = ir.node("Mul", [total.outputs[0], half], name=f"{popular.name}/mean")
    for value, instead in ((y_rare, no_rows), (y_popular, mean.outputs[0])):
        for node, index in list(value.uses()):
            if node is concat:
                node.replace_input_with(index, instead)
    graph.insert_before(concat, [total, mean])
    rare.replace_input_with(0, popular.inputs[0])
    for old, new in zip(rare.inputs[1:], popular.inputs[1:], strict=True):
        if old is not None and new is not None:
            # Under its own name, so that it is a matrix, and a random stream, of its own.
            old.const_value = _renamed(new, old.name)


def _renamed(value: ir.Value, name: str | None) -> ir.TensorProtocol:
    tensor = value.const_value
    assert tensor is not None
    return ir.LazyTensor(
        lambda: ir.tensor(tensor_values(tensor)),
        dtype=tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=name,
    )
