"""Runs a layer on stand-in weights, random tokens and random choices of experts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.passes.spellings.linear import find_bias
from hetc.passes.spellings.products import Product
from hetc.passes.spellings.spelling import MismatchError
from hetc.passes.spellings.tried.expert_form import ExpertProducts, Float32
from hetc.passes.spellings.tried.region import Region
from hetc.passes.spellings.tried.routed import Routed
from hetc.passes.spellings.tried.trial_model import StandIn, trial_function

__all__ = ["Run", "Trial"]

KINDS_OF_RUNS = tuple(
    (np.float32(size), alike) for size, alike in ((100, False), (1, True), (1, False), (0.01, False))
)
"""How large tokens are (where anything is clipped or counted, it shows), and whether all choose the same
experts."""
LEAST_TOKENS = 12


@dataclass(frozen=True)
class Run:
    """One run of a layer: T tokens, K choices each.

    Attributes:
        x: The tokens, `[T, H]`.
        index: The experts that each chose, `[T, K]`.
        outputs: What `Trial.outputs` were.
        others: What `Trial.others` were.
    """

    x: Float32
    index: NDArray[np.int64]
    outputs: list[NDArray[Any]]
    others: list[NDArray[Any]]


class Trial:
    """What is run of a layer, and what is looked at.

    Args:
        found: The router and what depends on it.
        orders: The experts by index, in each order that they may have.

    Attributes:
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
        self.router, self.region, self.orders = found.router, region, orders
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
        count = product.weight.count()
        inner, outer = product.matrix().shape
        return StandIn(
            (self._random.standard_normal((count, inner)) / np.sqrt(inner)).astype(np.float32),
            self._random.standard_normal((count, outer)).astype(np.float32),
        )

    def runs(self) -> Iterator[Run]:
        """Runs in which every expert is chosen, and some in which few are."""
        tokens, scores = self.region.sources
        shape, sizes = self._token_shape()
        pairs = {node: (self.products[node], self.stand_ins[node]) for node in self.products}
        index = self.router.outputs[-1]
        score = trial_function(Region(self.region.graph, [tokens]), [scores], {}, sizes, self.router)
        layer = trial_function(self.region, [index, *self.outputs, *self.others], pairs, sizes, self.router)
        score_shape = score(self._random_tokens(shape))[0].shape
        if score_shape[-1] != self.experts:
            reason = f"the router chooses among {score_shape[-1]}, but there are {self.experts} experts"
            raise MismatchError(reason, self.router)
        rows = math.prod(shape[:-1])
        for first in range(0, self.experts, rows):
            for size, alike in KINDS_OF_RUNS:
                x = self._random_tokens(shape) * size
                found, *values = layer(x, self._scores(rows, first, alike).reshape(score_shape))
                split = len(self.outputs)
                yield Run(x.reshape(rows, -1), found.reshape(rows, -1), values[:split], values[split:])

    def _token_shape(self) -> tuple[list[int], dict[str, int]]:
        """A shape for the tokens, and what the symbols in it stand for."""
        tokens = self.region.sources[0]
        hidden = self.orders[0][0].ups[0].matrix().shape[0]
        if tokens.dtype not in (None, ir.DataType.FLOAT):
            raise MismatchError(f"its tokens {tokens.name!r} are {tokens.dtype}, not float32", self.router)
        dims = list(tokens.shape) if tokens.shape is not None else [ir.SymbolicDim("T"), hidden]
        symbols = sorted({s for d in dims if not isinstance(d, int) for s in d.free_symbols()})
        open_dims = len(symbols) + sum(not isinstance(d, int) and d.value is None for d in dims)
        sizes, left = dict.fromkeys(symbols, 3), max(LEAST_TOKENS, self.experts)
        for symbol in symbols[1:]:
            sizes[symbol] = 5
        if symbols:
            sizes[symbols[0]] = -(-left // 5 ** (open_dims - 1))
        shape = []
        for dim in dims:
            size = dim if isinstance(dim, int) else dim.evaluate(sizes)
            shape.append(size if isinstance(size, int) else 4)
        if shape[-1] != hidden and isinstance(dims[-1], int):
            raise MismatchError(f"its tokens are {shape[-1]} wide, its experts {hidden}", self.router)
        shape[-1] = hidden
        return shape, sizes

    def _random_tokens(self, shape: list[int]) -> Float32:
        return self._random.standard_normal(shape).astype(np.float32)

    def _scores(self, rows: int, first: int, alike: bool) -> Float32:
        """Positive scores, no two of a row equal; the experts from `first` on are favoured in turn."""
        scores = self._random.permuted(np.tile(np.linspace(0.01, 0.3, self.experts), (rows, 1)), axis=1)
        favoured = (np.arange(rows) + first) % self.experts
        if alike:
            scores[:], favoured[:] = scores[0], favoured[0]
        scores[np.arange(rows), favoured] += 0.4
        return scores.astype(np.float32)

    def tokens_like(self, run: Run, output: int) -> ir.Value | None:
        """The tokens in the shape of an output that depends on them."""
        nodes = self.region.ancestors(self.outputs[output])
        for value, numbers in zip(self.others, run.others, strict=True):
            if value is self.region.sources[0] or value.producer() in nodes:
                same = numbers.shape == run.outputs[output].shape and numbers.dtype == np.float32
                if same and np.array_equal(numbers.reshape(run.x.shape), run.x):
                    return value
        return None

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
