"""Walks between the matrix products of a graph: what a product feeds, and what feeds a node."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Iterator

import onnx_ir as ir

from hetc.operators.schemas import DOMAIN, EXPERT_OPERATORS

__all__ = ["ProductFlow", "constant_source"]

LEARNED_NOTHING = ("Shape", "Size")
"""What they give of a value says nothing of its numbers."""
ADDITIONS = ("Add", "Sum", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
"""What the residual stream goes through."""
KEEPS_SCORES = frozenset(
    [
        "Add",
        "Cast",
        "Clip",
        "Concat",
        "Div",
        "Dropout",
        "Expand",
        "Identity",
        "Mul",
        "Reshape",
        "Slice",
        "Squeeze",
        "Sub",
        "Tanh",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)
"""What may lie between a Softmax and the products of an attention."""
KEEPS_NUMBERS = frozenset(
    [
        "Cast",
        "DequantizeLinear",
        "Expand",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ]
)
"""What may lie between a constant and its use."""
SEARCHED = 64
"""How many nodes may lie between an attention and its products."""


class ProductFlow:
    """A graph with some of its products.

    Args:
        graph: The graph.
        products: Its products with constant matrices.
    """

    def __init__(self, graph: ir.Graph, products: Collection[ir.Node]) -> None:
        self.graph, self.products = graph, products
        self.nodes = list(graph)
        self.position = {node: index for index, node in enumerate(self.nodes)}
        named = [output for output in graph.outputs if output.name == "logits"]
        self.result = (named or graph.outputs)[0] if graph.outputs else None

    def maker(self, value: ir.Value) -> ir.Node | None:
        """The product that makes a value, with at most one operand of data on each step between them."""
        node = value.producer()
        for _ in range(SEARCHED):
            if node is None or node in self.products:
                return node
            data = [one for one in node.inputs if one is not None and not _is_constant(one)]
            node = data[0].producer() if len(data) == 1 else None
        return None

    def nearest(self, values: Iterable[ir.Value | None]) -> tuple[set[ir.Node], list[ir.Value]]:
        """The last products before values, of all that lead to them, and the graph inputs behind none."""
        products: set[ir.Node] = set()
        inputs: list[ir.Value] = []
        seen: set[ir.Value] = set()
        waiting = deque(values)
        while waiting and len(seen) < SEARCHED:
            value = waiting.popleft()
            if value is None or value in seen:
                continue
            seen.add(value)
            node = value.producer()
            if node is None:
                inputs += [] if value.is_initializer() else [value]
            elif node in self.products:
                products.add(node)
            else:
                waiting.extend(node.inputs)
        return products, inputs

    def feeding(
        self, values: Iterable[ir.Value | None], ends: Iterable[ir.Node], walked: set[ir.Node]
    ) -> Iterator[ir.Node]:
        """The products before `values` that give nothing to anything but `ends`, the last ones first.

        Args:
            values: Where to begin.
            ends: The place that they are to belong to.
            walked: Nodes that are passed by; those that were walked are added, so that each walk along the
                residual stream ends where the one before it began.
        """
        inside = set(ends)
        waiting = self._makers(values)
        heapq.heapify(waiting)
        while waiting:
            node = self.nodes[-heapq.heappop(waiting)]
            if node in walked or node in inside:
                continue
            if node in self.products:
                if not self._only_feeds(node, inside):
                    continue
                inside.add(node)
                yield node
            walked.add(node)
            if not _is_expert(node):
                for position in self._makers(node.inputs):
                    heapq.heappush(waiting, position)

    def until_joined(self, values: Iterable[ir.Value]) -> tuple[list[ir.Node], ir.Node | None]:
        """What values go to: the first products, or, if there are none, where something else is added."""
        reached = set(values)
        products: list[ir.Node] = []
        for node in self._after(reached):
            if node in self.products:
                products.append(node)
            elif node.op_type in ADDITIONS and self.others(node, reached):
                if not products:
                    return [], node
            elif node.op_type not in LEARNED_NOTHING:
                reached.update(node.outputs)
        return products, None

    def others(self, node: ir.Node, reached: Collection[ir.Value]) -> list[ir.Value]:
        """The operands of an addition that are data and were not reached."""
        return [
            value
            for value in node.inputs[:2]
            if value is not None and value not in reached and not _is_constant(value)
        ]

    def around_softmax(self, softmax: ir.Node) -> tuple[ir.Node, ir.Node, ir.Value | None] | None:
        """The products of data before and after a Softmax, and what the second multiplies it by."""
        scores = self._scores(softmax)
        if scores is None:
            return None
        reached = set(softmax.outputs)
        for node in self._after(reached):
            if self._multiplies_data(node):
                return scores, node, next((one for one in node.inputs if one not in reached), None)
            if node.op_type in KEEPS_SCORES:
                reached.update(node.outputs)
        return None

    def _scores(self, softmax: ir.Node) -> ir.Node | None:
        """The nearest product of two operands of data before a Softmax."""
        waiting = deque(softmax.inputs)
        for _ in range(SEARCHED):
            value = waiting.popleft() if waiting else None
            node = value.producer() if value is not None else None
            if node is None or node in self.products:
                continue
            if self._multiplies_data(node):
                return node
            if node.op_type in KEEPS_SCORES:
                waiting.extend(node.inputs)
        return None

    def _after(self, reached: Collection[ir.Value]) -> Iterator[ir.Node]:
        """The nodes that read what was reached, in graph order; `reached` may grow meanwhile."""
        passed: set[ir.Node] = set()
        known: set[ir.Value] = set()
        waiting: list[int] = []
        while len(passed) < SEARCHED:
            for value in set(reached) - known:
                known.add(value)
                for user in value.consumers():
                    if user in self.position:
                        heapq.heappush(waiting, self.position[user])
            if not waiting:
                return
            node = self.nodes[heapq.heappop(waiting)]
            if node not in passed:
                passed.add(node)
                yield node

    def _multiplies_data(self, node: ir.Node) -> bool:
        return (
            node.op_type in ("MatMul", "Einsum", "Gemm", "FusedMatMul")
            and node not in self.products
            and not any(value is not None and _is_constant(value) for value in node.inputs[:2])
        )

    def _only_feeds(self, product: ir.Node, inside: Collection[ir.Node]) -> bool:
        """Whether all that a product gives ends inside, or in what the model keeps for its next step."""
        waiting, seen = [product], {product}
        while waiting:
            node = waiting.pop()
            for output in node.outputs:
                if output is self.result:
                    return False
                for user in output.consumers():
                    if user in inside or user in seen or user.op_type in LEARNED_NOTHING:
                        continue
                    if user in self.products or _is_expert(user) or user.graph is not self.graph:
                        return False
                    seen.add(user)
                    waiting.append(user)
        return True

    def _makers(self, values: Iterable[ir.Value | None]) -> list[int]:
        """Negative positions of the nodes that make values: the last node is the least."""
        makers = [value.producer() for value in values if value is not None]
        return [-self.position[node] for node in makers if node is not None and node in self.position]


def constant_source(value: ir.Value | None) -> ir.Value | None:
    """The initializer or output of a Constant that a value is, but for type, shape and order; or None."""
    while value is not None and not value.is_initializer():
        node = value.producer()
        if node is not None and node.op_type == "Constant":
            return value
        value = node.inputs[0] if node is not None and node.op_type in KEEPS_NUMBERS else None
    return value


def _is_constant(value: ir.Value) -> bool:
    return constant_source(value) is not None


def _is_expert(node: ir.Node) -> bool:
    return node.domain == DOMAIN and node.op_type in EXPERT_OPERATORS
