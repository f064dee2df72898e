"""Which unit a product with weights belongs to, by what it feeds: for graphs whose names say nothing.

What is found, in this order, each product once:

* LM head: the product that makes the logits.
* attention: the products around an attention operator, or around Softmax between two products of data.
* router: the products that only the routing of a canonical MoE layer reads.
* shared expert: the products that are only read by what an MoE layer's output is added to.
* dense MLP: two or three products in a row, H -> I -> H, whose result is only added to something.

A product belongs to a place if everything that it gives passes through there: the projections of an
attention do, and what the residual stream carries past it does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from hetc.operators.schemas import EXPERT_OPERATORS
from hetc.passes.analysis.product_flow import ProductFlow
from hetc.passes.analysis.unit_use import canonical_ends, leads_to_concat
from hetc.passes.analysis.weight_uses import Product
from hetc.plan.weight_roles import WeightRole
from hetc.plan.words import Kind

__all__ = ["structural_roles"]

ATTENTION_OPERATORS = (
    "Attention",
    "DecoderMaskedMultiHeadAttention",
    "GroupQueryAttention",
    "MultiHeadAttention",
    "PagedAttention",
    "SparseAttention",
)
TOKENS = ("input_ids", "decoder_input_ids")
EXPERT_NAME = re.compile(r"layers\.(\d+)\.experts\.\d+$")
CACHE_INPUT = re.compile(r"past\D*(\d+)")


def structural_roles(
    graph: ir.Graph, products: Iterable[Product], named: Mapping[ir.Value, WeightRole]
) -> dict[ir.Value, WeightRole]:
    """The roles of the weights that have none by name.

    Args:
        graph: The graph; its MoE layers are canonical.
        products: Its products with constant matrices.
        named: Roles that names gave.

    Returns:
        A role for each weight that has been found, those in `named` left out.
    """
    return _Roles(graph, products, named).find()


class _Roles:
    """The search, and what it has found so far."""

    def __init__(
        self, graph: ir.Graph, products: Iterable[Product], named: Mapping[ir.Value, WeightRole]
    ) -> None:
        self.graph, self.named = graph, named
        self.products = {product.node: product for product in products}
        self.flow = ProductFlow(graph, self.products)
        self.found: dict[ir.Value, WeightRole] = {}
        self.attentions: list[tuple[int, int]] = []
        """Position and layer of each attention, in graph order."""

    def find(self) -> dict[ir.Value, WeightRole]:
        self._find_embedding()
        if all(product.weight in self.named for product in self.products.values()):
            return self.found
        self._find_head()
        self._find_attentions()
        experts = self._expert_layers()
        self._find_routers(experts)
        self._find_shared_experts(experts)
        self._find_dense()
        return self.found

    def _role(self, node: ir.Node) -> WeightRole | None:
        weight = self.products[node].weight
        return self.named.get(weight) or self.found.get(weight)

    def _add(self, node: ir.Node, kind: Kind, layer: int | None, projection: str) -> None:
        weight = self.products[node].weight
        if self._role(node) is not None:
            return
        taken = {(role.kind, role.layer, role.projection) for role in self.found.values()}
        number, name = 2, projection
        while (kind, layer, name) in taken:
            number, name = number + 1, f"{projection}_{number}"
        self.found[weight] = WeightRole(kind, layer, name)

    def _find_embedding(self) -> None:
        """The table that tokens are looked up in."""
        for value in self.graph.inputs:
            for node in value.consumers() if value.name in TOKENS else ():
                table = node.inputs[0] if node.op_type == "Gather" else None
                if table is not None and table.is_initializer() and table not in self.named:
                    self.found[table] = WeightRole("embedding", None, "embed_tokens")

    def _find_head(self) -> None:
        for output in self.graph.outputs:
            node = self.flow.maker(output) if output.name == "logits" else None
            if node is not None and self.products[node].weight not in self.found:
                self._add(node, "lm_head", None, "lm_head")

    def _find_attentions(self) -> None:
        walked: set[ir.Node] = set()
        for node in self.graph:
            if node.op_type in ATTENTION_OPERATORS:
                self._add_attention(node, node.inputs[:3], walked)
            elif node.op_type == "Softmax" and (around := self.flow.around_softmax(node)) is not None:
                scores, sums, values = around
                self._add_attention(sums, [*scores.inputs[:2], values], walked)

    def _add_attention(
        self, core: ir.Node, operands: Sequence[ir.Value | None], walked: set[ir.Node]
    ) -> None:
        after, _ = self.flow.until_joined(core.outputs[:1])
        outputs = after if len(after) == 1 else []
        before = [value for node in (core, *outputs) for value in node.inputs]
        members = [*outputs, *self.flow.feeding(before, [core, *outputs], walked)]
        if not members:
            return
        layer = self._layer_of_attention(members, [*core.inputs, *operands])
        self.attentions.append((self.flow.position[core], layer))
        nearest = [self.flow.nearest([operand])[0] for operand in operands]
        for node in members:
            feeds = [name for name, products in zip("qkv", nearest, strict=False) if node in products]
            projection = "o" if node in outputs else "".join(feeds) or "in"
            self._add(node, "attention", layer, f"{projection}_proj")

    def _layer_of_attention(self, members: Sequence[ir.Node], operands: Sequence[ir.Value | None]) -> int:
        """The number that the names of a neighbour or of the cache say, or the next one."""
        for node in members:
            role = self._role(node)
            if role is not None and role.layer is not None:
                return role.layer
        for value in self.flow.nearest(operands)[1]:
            if match := CACHE_INPUT.match(value.name or ""):
                return int(match[1])
        return max((layer for _, layer in self.attentions), default=-1) + 1

    def _expert_layers(self) -> dict[int, ir.Node]:
        """One expert of each canonical MoE layer."""
        experts: dict[int, ir.Node] = {}
        for node in self.graph:
            match = EXPERT_NAME.match(node.name or "") if node.op_type in EXPERT_OPERATORS else None
            if match is not None and leads_to_concat(node):
                experts.setdefault(int(match[1]), node)
        return experts

    def _find_routers(self, experts: Mapping[int, ir.Node]) -> None:
        walked: set[ir.Node] = set()
        for layer, expert in experts.items():
            routing, ends, _ = canonical_ends(expert)
            for node in self.flow.feeding(routing, ends, walked):
                self._add(node, "router", layer, "gate")

    def _find_shared_experts(self, experts: Mapping[int, ir.Node]) -> None:
        walked: set[ir.Node] = set()
        for layer, expert in experts.items():
            *_, output = canonical_ends(expert)
            products, join = self.flow.until_joined([output])
            if join is None or products:
                continue
            # What the residual stream carries feeds the experts as well, so that it isn't among them.
            members = self.flow.feeding(join.inputs, [join], walked)
            for node, projection in self._mlp([node for node in members if self._role(node) is None]):
                kind: Kind = "router" if projection == "shared_expert_gate" else "shared_expert"
                self._add(node, kind, layer, projection)

    def _find_dense(self) -> None:
        walked: set[ir.Node] = set()
        for node in self.products:
            _, join = self.flow.until_joined(node.outputs)
            if join is None or self._role(node) is not None:
                continue
            members = [node, *self.flow.feeding(node.inputs, [node], walked)]
            layer = self._layer_before(node)
            for one, projection in self._mlp(members):
                self._add(one, "dense_mlp", layer, projection)

    def _layer_before(self, node: ir.Node) -> int:
        """The layer of the last attention before a node."""
        before = [layer for position, layer in self.attentions if position < self.flow.position[node]]
        return before[-1] if before else 0

    def _mlp(self, members: Sequence[ir.Node]) -> list[tuple[ir.Node, str]]:
        """The projections of an MLP with widths H -> I -> H, the last one first; none for anything else."""
        sizes = {node: self.products[node].widths for node in members}
        gates = [(node, "shared_expert_gate") for node in members if sizes[node][1] == 1]
        rest = sorted((node for node in members if sizes[node][1] != 1), key=self.flow.position.__getitem__)
        if not rest:
            return []
        *first, last = rest
        (inner, hidden), shapes = sizes[last], {sizes[node] for node in first}
        if len(first) == 2 and shapes == {(hidden, inner)}:
            names = ["gate_proj", "up_proj"]
        elif len(first) == 1 and shapes <= {(hidden, inner), (hidden, 2 * inner)}:
            names = ["up_proj" if shapes == {(hidden, inner)} else "gate_up_proj"]
        else:
            return []
        return [(last, "down_proj"), *zip(first, names, strict=True), *gates]
