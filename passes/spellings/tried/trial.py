"""Decides by running it what a layer computes: y[t] = sum over k of weight[t, k] * expert(index[t, k])(x[t]).

A spelling says which products make up each expert. Everything else (rows that are gathered, masked, sorted or
scattered, branches and loops, where the weights are applied) is not matched but run: on stand-in weights of
rank one, random tokens and random choices of experts. A layer is what the formula gives the same numbers as,
so that a spelling can only decline what it takes for something else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.operators.activations import CLAMPED_SWISH
from hetc.passes.canonical.canonical_layer import ExpertWeights
from hetc.passes.canonical.named_tape import NamedTape
from hetc.passes.spellings.constants import small_constant
from hetc.passes.spellings.initializers import as_initializer
from hetc.passes.spellings.linear import find_bias
from hetc.passes.spellings.products import Product
from hetc.passes.spellings.spelling import FoundLayer, MismatchError
from hetc.passes.spellings.tried.expert_form import ExpertProducts, Float32, Form, Part, expert_terms, forms
from hetc.passes.spellings.tried.region import Region, StandIn
from hetc.passes.spellings.weight_path import WeightPath

__all__ = ["try_layer"]

ACTIVATIONS = (("silu",), ("relu",), ("relu2",), ("gelu", "gelu_tanh"))
"""In the order in which they are tried; those so alike that the nearer one is taken stand together."""
TOLERANCE = 1e-4
"""Largest error relative to the mean term: float32 sums of a few thousand random numbers."""
KINDS_OF_RUNS = tuple(
    (np.float32(size), alike) for size, alike in ((100, False), (1, True), (1, False), (0.01, False))
)
"""How large tokens are (where anything is clipped or counted, it shows), and whether all choose the same
experts."""
LEAST_TOKENS = 12


@dataclass(frozen=True)
class _Reading:
    """Values of the graph that the formula relates, as positions among what a trial gives."""

    order: int
    form: Form
    weight: int
    output: int


@dataclass(frozen=True)
class _Run:
    """One run of the layer: T tokens, K choices each."""

    x: Float32
    index: NDArray[np.int64]
    outputs: list[NDArray[Any]]
    others: list[NDArray[Any]]


def try_layer(router: ir.Node, region: Region, orders: Sequence[Sequence[ExpertProducts]]) -> FoundLayer:
    """The layer that the products are the experts of.

    Args:
        router: The TopK or ArgMax that chooses experts.
        region: What depends on the tokens and on the router's scores, its sources in this order.
        orders: The experts by index, in each order that they may have.

    Raises:
        MismatchError: The layer computes something else, or what its experts give is read elsewhere too.
    """
    return _Trial(router, region, orders).layer()


class _Trial:
    def __init__(self, router: ir.Node, region: Region, orders: Sequence[Sequence[ExpertProducts]]) -> None:
        self.router, self.region, self.orders = router, region, orders
        self.experts = len(orders[0])
        self.random = np.random.default_rng(0)
        self.products = {p.node: p for expert in orders[0] for p in (*expert.ups, expert.down)}
        self.stand_ins = {node: self._stand_in(product) for node, product in self.products.items()}
        self.biases = {node: find_bias(product) for node, product in self.products.items()}
        made = [output for node in self.products for output in region.outermost(node).outputs]
        self.mixed = region.descendants(made)
        values = [value for node in region.nodes for value in node.outputs]
        weights = [p.weight for p in self.products.values()] + [bias for bias in self.biases.values() if bias]
        cut = {node for weight in weights for node, _ in weight.steps}
        self.others = [region.sources[0]]
        self.others += [v for v in values if v not in self.mixed and v.producer() not in cut]
        self.outputs = [value for value in values if value in self.mixed]

    def _stand_in(self, product: Product) -> StandIn:
        count = product.weight.count()
        inner, outer = product.matrix().shape
        return StandIn(
            (self.random.standard_normal((count, inner)) / np.sqrt(inner)).astype(np.float32),
            self.random.standard_normal((count, outer)).astype(np.float32),
        )

    def layer(self) -> FoundLayer:
        runs = list(self._runs())
        readings = self._readings(runs)
        if not readings:
            known = ", ".join((*(name for names in ACTIVATIONS for name in names), CLAMPED_SWISH))
            raise MismatchError(
                "what it makes of its experts is not the sum of the chosen ones times their weights, or "
                f"their activation is none of {known}",
                self.orders[0][0].down.node,
            )
        form = min(readings, key=lambda reading: readings[reading]).form
        refused = MismatchError("its result has another shape than its tokens", self.router)
        for reading in sorted(readings, key=lambda reading: reading.output):
            if reading.form != form:
                continue
            x = self._tokens_like(runs[0], reading.output)
            if x is None:
                continue
            try:
                self._require_closed(self.outputs[reading.output])
            except MismatchError as error:
                refused = error
            else:
                return self._found(runs[0], reading, x)
        raise refused

    def _is_of_all(self, output: ir.Value) -> bool:
        """Whether all experts lead to an output; the part of one of them fits too, with its own weights."""
        inside = self.region.ancestors(output)
        return all(self.region.outermost(node) in inside for node in self.products)

    def _runs(self) -> Iterator[_Run]:
        """Runs in which every expert is chosen, and some in which few are."""
        tokens, scores = self.region.sources
        shape, sizes = self._token_shape()
        pairs = {node: (self.products[node], self.stand_ins[node]) for node in self.products}
        index = self.router.outputs[-1]
        score = Region(self.region.graph, [tokens]).function([scores], {}, sizes, self.router)
        layer = self.region.function([index, *self.outputs, *self.others], pairs, sizes, self.router)
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
                yield _Run(x.reshape(rows, -1), found.reshape(rows, -1), values[:split], values[split:])

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
        return self.random.standard_normal(shape).astype(np.float32)

    def _scores(self, rows: int, first: int, alike: bool) -> Float32:
        """Positive scores, no two of a row equal; the experts from `first` on are favoured in turn."""
        scores = self.random.permuted(np.tile(np.linspace(0.01, 0.3, self.experts), (rows, 1)), axis=1)
        favoured = (np.arange(rows) + first) % self.experts
        if alike:
            scores[:], favoured[:] = scores[0], favoured[0]
        scores[np.arange(rows), favoured] += 0.4
        return scores.astype(np.float32)

    def _readings(self, runs: list[_Run]) -> dict[_Reading, float]:
        """The readings of one kind of activation that fit all runs, with their errors."""
        run = runs[0]
        rows, choices = run.index.shape
        hidden, experts = run.x.shape[1], self.experts

        def is_output(value: NDArray[Any]) -> bool:
            return value.dtype == np.float32 and value.size == rows * hidden and value.shape[-1] == hidden

        def is_weight(value: NDArray[Any]) -> bool:
            if value.dtype != np.float32 or not value.ndim:
                return False
            dense = value.size == rows * experts and value.shape[-1] == experts
            return bool(dense or value.size == rows * choices)

        # In every run: what is made of one expert's rows alone may have the right size in some.
        outputs = [n for n in range(len(self.outputs)) if all(is_output(r.outputs[n]) for r in runs)]
        weights = [n for n in range(len(self.others)) if all(is_weight(r.others[n]) for r in runs)]
        weights.sort(key=lambda number: run.others[number].shape[-1] != choices)
        numbers = self._numbers()
        for order in range(len(self.orders)):
            for names in (*ACTIVATIONS, (CLAMPED_SWISH,)):
                fits = {}
                for form in forms(self.orders[0][0], names, numbers):
                    terms = self._terms(run, order, form)
                    for weight in weights:
                        for output in outputs:
                            reading = _Reading(order, form, weight, output)
                            fits[reading] = self._error(run, reading, terms)
                for other in runs[1:]:
                    fits = {r: max(e, self._error(other, r)) for r, e in fits.items() if e <= TOLERANCE}
                fits = {
                    r: e
                    for r, e in fits.items()
                    if e <= TOLERANCE and self._is_of_all(self.outputs[r.output])
                }
                if fits:
                    return fits
        return {}

    def _numbers(self) -> set[float]:
        """The magnitudes of what follows products."""
        found = set()
        for value in self.outputs:
            for source in value.producer().inputs:  # type: ignore[union-attr]
                number = small_constant(source)
                if number is not None and number.size == 1 and number.dtype == np.float32:
                    found.add(abs(float(number.item())))
        return found

    def _terms(self, run: _Run, order: int, form: Form) -> Float32:
        """What the chosen experts give, `[T, K, H]`."""
        return expert_terms(self.orders[order], form, run.x, run.index, self.stand_ins, self.biases)

    def _error(self, run: _Run, reading: _Reading, terms: Float32 | None = None) -> float:
        """Largest error relative to the mean term."""
        if terms is None:
            terms = self._terms(run, reading.order, reading.form)
        weight = run.others[reading.weight]
        if weight.size != run.index.size:
            weight = np.take_along_axis(weight.reshape(len(run.x), self.experts), run.index, 1)
        parts = weight.reshape(*run.index.shape, 1) * terms
        scale = float(np.abs(parts).sum(1).mean())
        difference = np.abs(parts.sum(1) - run.outputs[reading.output].reshape(run.x.shape))
        return float(difference.max()) / scale if scale > 0 and np.isfinite(scale) else np.inf

    def _tokens_like(self, run: _Run, output: int) -> ir.Value | None:
        """The tokens in the shape of an output that depends on them."""
        nodes = self.region.ancestors(self.outputs[output])
        for value, numbers in zip(self.others, run.others, strict=True):
            if value is self.region.sources[0] or value.producer() in nodes:
                same = numbers.shape == run.outputs[output].shape and numbers.dtype == np.float32
                if same and np.array_equal(numbers.reshape(run.x.shape), run.x):
                    return value
        return None

    def _require_closed(self, output: ir.Value) -> None:
        """Nothing but the layer reads what its experts give."""
        inside = self.region.ancestors(output)
        for node in inside:
            for value in node.outputs:
                if value is output or value not in self.mixed:
                    continue
                users = [self.region.outermost(user) for user in value.consumers()]
                other = next((user for user in users if user not in inside), None)
                if other is not None or value.is_graph_output():
                    reader = "the model's outputs" if other is None else f"node {other.name!r}"
                    raise MismatchError(f"{reader} read what its experts give", node)

    def _found(self, run: _Run, reading: _Reading, x: ir.Value) -> FoundLayer:
        form, experts = reading.form, self.orders[reading.order]
        index, weight, glue = self.router.outputs[-1], self.others[reading.weight], None
        if run.others[reading.weight].size != run.index.size:
            glue = NamedTape(f"{self.router.name}/chosen")
            weight = glue.op("weight", "GatherElements", [weight, index], axis=-1)
        views = [self._matrices(expert, form) for expert in experts]
        turned = [view.T for matrices in views for _, view in matrices if view is not None]
        plain = [view for matrices in views for _, view in matrices if view is not None]
        transpose = sum(v.flags.c_contiguous for v in turned) >= sum(v.flags.c_contiguous for v in plain)
        found = []
        for expert, matrices in zip(experts, views, strict=True):
            parts = [
                None if view is None else as_initializer(path, view.T if transpose else view)
                for path, view in matrices
            ]
            gate_bias, up_bias, down_bias = self._bias_values(expert, form)
            assert parts[1] is not None and parts[2] is not None
            found.append(ExpertWeights(parts[1], parts[2], parts[0], gate_bias, up_bias, down_bias))
        attributes = {}
        if form.clamp is not None:
            names = ("activation_alpha", "activation_beta", "activation_limit")
            attributes = dict(zip(names, form.clamp, strict=True))
        return FoundLayer(
            x=x,
            top_k_index=index,
            top_k_weight=weight,
            experts=tuple(found),
            output=self.outputs[reading.output],
            top_k=run.index.shape[1],
            hidden_size=run.x.shape[1],
            activation=form.activation,
            activation_attributes=attributes,
            transpose_weight=transpose,
            glue=glue,
        )

    def _matrices(self, expert: ExpertProducts, form: Form) -> list[tuple[WeightPath, NDArray[Any] | None]]:
        """Gate, up and down as `[in, out]`."""

        def cut(part: Part | None) -> tuple[WeightPath, NDArray[Any] | None]:
            if part is None:
                return expert.down.weight, None
            product = expert.ups[part.product]
            return product.weight, product.matrix(expert.index)[:, part.columns]

        return [cut(form.gate), cut(form.up), (expert.down.weight, expert.down.matrix(expert.index))]

    def _bias_values(self, expert: ExpertProducts, form: Form) -> list[ir.Value | None]:
        def cut(product: Product, columns: slice) -> ir.Value | None:
            path = self.biases[product.node]
            if path is None:
                return None
            return as_initializer(path, path.view(expert.index).reshape(-1)[columns])

        gate = None if form.gate is None else cut(expert.ups[form.gate.product], form.gate.columns)
        up = cut(expert.ups[form.up.product], form.up.columns)
        return [gate, up, cut(expert.down, slice(None))]
