"""What an expert may compute with its products, and what that gives on stand-in weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.operators.activations import NEEDS_GATE
from hetc.passes.spellings.activation_choices import attribute_choices
from hetc.passes.spellings.linear import bias_row
from hetc.passes.spellings.products import Product
from hetc.passes.spellings.tried.trial_model import StandIn
from hetc.passes.spellings.weight_path import WeightPath
from hetc.runtimes.reference.expert import hidden

__all__ = ["ExpertProducts", "Float32", "Form", "Part", "expert_terms", "forms"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class ExpertProducts:
    """The products of one expert.

    Attributes:
        ups: Gate and up in any order, or one product that is both or that has no gate.
        down: The product after them.
        index: Which of the stacked weights or biases it uses, where they are chosen while the model runs.
    """

    ups: tuple[Product, ...]
    down: Product
    index: int = 0


@dataclass(frozen=True)
class Part:
    """Some outputs of one of an expert's first products: every `step`-th from `start`, or all."""

    product: int
    start: int | None = None
    stop: int | None = None
    step: int | None = None

    @property
    def columns(self) -> slice:
        return slice(self.start, self.stop, self.step)


@dataclass(frozen=True)
class Form:
    """Where an expert's gate and up come from: which of its products, and which of that one's outputs."""

    activation: str
    up: Part
    gate: Part | None
    numbers: tuple[tuple[str, float], ...] = ()
    """The activation's own attributes."""


def forms(expert: ExpertProducts, activations: Sequence[str], numbers: Set[float]) -> Iterator[Form]:
    """The forms that an expert with such products may have.

    Args:
        expert: Its products.
        activations: Those to try.
        numbers: What attributes of activations may be.
    """
    inner = expert.down.matrix().shape[0]
    widths = [product.matrix().shape[1] for product in expert.ups]
    arrangements: list[tuple[Part, Part | None]] = []
    if widths == [inner]:
        arrangements = [(Part(0), None)]
    elif widths == [2 * inner]:
        halves = Part(0, 0, inner), Part(0, inner)
        mixed = Part(0, 0, None, 2), Part(0, 1, None, 2)
        arrangements = [halves[::-1], mixed[::-1], halves, mixed]
    elif widths == [inner, inner]:
        arrangements = [(Part(1), Part(0)), (Part(0), Part(1))]
    for activation in activations:
        for up, gate in arrangements:
            if gate is not None or activation not in NEEDS_GATE:
                for attributes in attribute_choices(activation, numbers):
                    yield Form(activation, up, gate, tuple(attributes.items()))


def expert_terms(
    experts: Sequence[ExpertProducts],
    form: Form,
    x: Float32,
    index: NDArray[np.int64],
    stand_ins: Mapping[ir.Node, StandIn],
    biases: Mapping[ir.Node, WeightPath | None],
) -> Float32:
    """What experts of a form give on stand-in weights.

    Args:
        experts: By index.
        form: What they compute.
        x: Tokens `[T, H]`.
        index: Which experts each token chose, `[T, K]`.
        stand_ins: The weights of each product.
        biases: What is added to each product.

    Returns:
        `[T, K, H]`.
    """

    def project(tokens: Float32, products: list[tuple[Product, int]]) -> Float32:
        rows = [_row(stand_ins[product.node], i) for product, i in products]
        inner, outer = (np.stack(parts)[index] for parts in zip(*rows, strict=True))
        bias = _biases([(biases[product.node], product, i) for product, i in products])
        product = np.einsum("tkh,tkh->tk", np.broadcast_to(tokens, inner.shape), inner)[..., None] * outer
        result: Float32 = (product if bias is None else product + bias[index]).astype(np.float32)
        return result

    def part(of: Part) -> Float32:
        return project(x[:, None], [(e.ups[of.product], e.index) for e in experts])[..., of.columns]

    gate = None if form.gate is None else part(form.gate)
    between = hidden(gate, part(form.up), form.activation, **dict(form.numbers))
    return project(between, [(e.down, e.index) for e in experts])


def _row(stand_in: StandIn, index: int) -> tuple[Float32, Float32]:
    index = index if len(stand_in.inner) > 1 else 0
    return stand_in.inner[index], stand_in.outer[index]


def _biases(added: Sequence[tuple[WeightPath | None, Product, int]]) -> NDArray[Any] | None:
    if any(path is None for path, _, _ in added):
        return None
    return np.stack([bias_row(path, product, index) for path, product, index in added if path is not None])
