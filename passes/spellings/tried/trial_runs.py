"""Runs a layer on stand-in weights, random tokens and random choices of experts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.external_tensors import tensor_values
from hetc.passes.spellings.constants import constant_tensor
from hetc.passes.spellings.linear import find_bias
from hetc.passes.spellings.products import Product
from hetc.passes.spellings.spelling import MismatchError
from hetc.passes.spellings.tried.expert_form import ExpertProducts, Float32
from hetc.passes.spellings.tried.routed import Routed
from hetc.passes.spellings.tried.routings import favouring, in_turn, sets_left_out
from hetc.passes.spellings.tried.runner import Runner
from hetc.passes.spellings.tried.trial_model import StandIn

__all__ = ["Run", "Trial"]

SIZES = (100, 1, 0.01)
"""How large tokens are: where anything is clipped or counted, it shows."""
CLOSE = 1e-3
"""How far apart scores are at most where they are almost equal: some routers weigh experts by those that are
close to the best only, which is 1 where none is."""
LEAST_ROWS = 12
LONG_SEQUENCE = 1024
"""Rows of a run in which all choose the same experts; more where the layer has a larger integer, which may be
an expert's capacity."""
LARGEST_RUN = 1 << 26
"""Numbers in the inner rows of all experts, about; the long run may have four times as many."""


@dataclass(frozen=True)
class Run:
    """One run of a layer: T tokens, K choices each.

    Attributes:
        said: What is special about it, for messages: `where tokens are 100 times as large`.
        x: The tokens, `[T, H]`.
        index: The experts that each chose, `[T, K]`.
        outputs: What `Trial.outputs` were, by position: all, or those that were asked for.
        others: What `Trial.others` were.
    """

    said: str
    x: Float32
    index: NDArray[np.int64]
    outputs: Mapping[int, NDArray[Any]]
    others: Mapping[int, NDArray[Any]]


@dataclass(frozen=True)
class _Prepared:
    """A layer for tokens of one shape, and which positions of a trial's values it gives."""

    runner: Runner
    outputs: tuple[int, ...]
    others: tuple[int, ...]

    @property
    def rows(self) -> int:
        return self.runner.rows

    def run(self, said: str, scores: Float32, size: float = 1) -> Run:
        x, index, values = self.runner.run(scores, size)
        outputs = dict(zip(self.outputs, values, strict=False))
        return Run(said, x, index, outputs, dict(zip(self.others, values[len(outputs) :], strict=True)))


class Trial:
    """What is run of a layer, and what is looked at.

    Args:
        found: The router and what depends on it.
        orders: The experts by index, in each order that they may have.

    Attributes:
        found: The router and what depends on it.
        router: The TopK or ArgMax that chooses experts.
        region: What depends on the tokens and on the router's scores, its sources in this order.
        orders: The experts.
        experts: How many there are.
        products: The experts' products, by node.
        stand_ins: What is multiplied instead of their weights.
        biases: What is added to each of them.
        outputs: What the region computes from the products.
        others: What it computes from tokens and scores alone, the tokens first.
    """

    def __init__(self, found: Routed, orders: Sequence[Sequence[ExpertProducts]]) -> None:
        region = found.region
        self.found, self.router, self.region, self.orders = found, found.router, region, orders
        self.experts = len(orders[0])
        self._random = np.random.default_rng(0)
        self.products = {p.node: p for expert in orders[0] for p in (*expert.ups, expert.down)}
        self.stand_ins = {node: self._stand_in(product) for node, product in self.products.items()}
        self.biases = {node: find_bias(product) for node, product in self.products.items()}
        made = [output for node in self.products for output in region.outermost(node).outputs]
        self._mixed = region.descendants(made)
        values = [value for node in region.nodes for value in node.outputs]
        weights = [p.weight for p in self.products.values()] + [bias for bias in self.biases.values() if bias]
        cut = {node for weight in weights for node, _ in weight.steps}
        self.others = [region.sources[0]]
        self.others += [v for v in values if v not in self._mixed and v.producer() not in cut]
        self.outputs = [value for value in values if value in self._mixed]

    def _stand_in(self, product: Product) -> StandIn:
        count = product.count
        inner, outer = product.matrix().shape
        return StandIn(
            (self._random.standard_normal((count, inner)) / np.sqrt(inner)).astype(np.float32),
            self._random.standard_normal((count, outer)).astype(np.float32),
        )

    def runs(self) -> Iterator[Run]:
        """Runs in which every expert is chosen, and one in which few are; with all values of the layer."""
        outputs, others = range(len(self.outputs)), range(len(self.others))
        layer = self._prepared(max(LEAST_ROWS, min(self.experts, self._affordable)), outputs, others)
        for size in SIZES:
            said = f"where tokens are {size:g} times as large"
            for favoured in in_turn(range(self.experts), layer.rows, 1):
                yield layer.run(said, favouring(self._random, self.experts, favoured), size)
        close = favouring(self._random, self.experts, np.arange(layer.rows)[:, None] % self.experts)
        yield layer.run("where scores are almost equal", 0.9 + np.float32(CLOSE) * close)
        yield layer.run("where all tokens choose the same experts", self._alike(layer.rows))

    def harder_runs(self, outputs: Collection[int], others: Collection[int], top_k: int) -> Iterator[Run]:
        """Runs in which some experts are never chosen, and a long one in which all tokens choose the same.

        Args:
            outputs: Which of `outputs` are looked at.
            others: Which of `others`.
            top_k: K.
        """
        layer = self._prepared(max(LEAST_ROWS, -(-self.experts // top_k)), outputs, others)
        for left_out in sets_left_out(self.experts, top_k):
            said = f"where nobody chooses experts {', '.join(map(str, left_out))}"
            chosen = sorted(set(range(self.experts)) - set(left_out))
            for favoured in in_turn(chosen, layer.rows, top_k):
                yield layer.run(said, favouring(self._random, self.experts, favoured, left_out))
        layer = self._prepared(self._long(), outputs, others, last=True)
        said = f"where {layer.rows} tokens choose the same experts, as if each had room for so many"
        yield layer.run(said, self._alike(layer.rows))

    def _prepared(
        self, rows: int, outputs: Collection[int], others: Collection[int], *, last: bool = False
    ) -> _Prepared:
        pairs = {node: (self.products[node], self.stand_ins[node]) for node in self.products}
        values = [*(self.outputs[n] for n in outputs), *(self.others[n] for n in others)]
        hidden = self.orders[0][0].ups[0].matrix().shape[0]
        runner = Runner(self.found, self.experts, hidden, values, pairs, self._random, rows, last=last)
        return _Prepared(runner, tuple(outputs), tuple(others))

    def _alike(self, rows: int) -> Float32:
        """Scores by which all rows choose the same experts."""
        return np.repeat(favouring(self._random, self.experts, np.array([[0]])), rows, axis=0)

    @property
    def _affordable(self) -> int:
        """How many rows of all experts a run may compute."""
        widest: int = max(size for product in self.products.values() for size in product.matrix().shape)
        return LARGEST_RUN // (widest * self.experts)

    def _long(self) -> int:
        """How many rows exceed what an expert may have room for, if each may have any."""
        most = max(LONG_SEQUENCE // 2, 4 * self._affordable)
        room = [0]
        for node in self.region.every_node():
            for value in node.inputs:
                tensor = constant_tensor(value)
                if tensor is not None and tensor.dtype.is_integer() and tensor.size <= 16:
                    room += [int(number) for number in tensor_values(tensor).flat if number < most]
        return min(max(LONG_SEQUENCE, 1 + max(room)), most)

    def tokens_like(self, run: Run, output: int) -> ir.Value | None:
        """The tokens in the shape of an output that depends on them, or in any if that is `[T, H]`.

        Tools that merge Reshapes leave tokens with more dimensions before a layer than after it.
        """
        nodes, shape = self.region.ancestors(self.outputs[output]), run.outputs[output].shape
        tokens: list[tuple[bool, ir.Value]] = []
        for number, value in enumerate(self.others):
            numbers = run.others[number]
            if value is self.region.sources[0] or value.producer() in nodes:
                same = numbers.shape == shape
                fits = numbers.dtype == np.float32 and numbers.size == run.x.size
                if fits and (same or shape == run.x.shape) and np.array_equal(numbers.ravel(), run.x.ravel()):
                    tokens.append((same, value))
        return max(tokens, key=lambda one: one[0], default=(False, None))[1]

    def is_of_all(self, output: ir.Value) -> bool:
        """Whether all experts lead to an output; the part of one of them fits too, with its own weights."""
        inside = self.region.ancestors(output)
        return all(self.region.outermost(node) in inside for node in self.products)

    def require_closed(self, output: ir.Value) -> None:
        """Refuses a layer of which something else reads what its experts give.

        Raises:
            MismatchError: Names who does.
        """
        inside = self.region.ancestors(output)
        for node in inside:
            for value in node.outputs:
                if value is output or value not in self._mixed:
                    continue
                users = [self.region.outermost(user) for user in value.consumers()]
                other = next((user for user in users if user not in inside), None)
                if other is not None or value.is_graph_output():
                    reader = "the model's outputs" if other is None else f"node {other.name!r}"
                    raise MismatchError(f"{reader} read what its experts give", node)
