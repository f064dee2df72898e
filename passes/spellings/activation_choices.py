"""The activations that an expert may turn out to have, and what their attributes may be.

Exporters spell an activation in many ways, so that none is matched: each is computed and compared. Its
attributes are among the numbers that the graph has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from itertools import product

import onnx_ir as ir

from hetc.operators.activations import ACTIVATION_ATTRIBUTES, NEEDS_GATE

__all__ = ["ALIKE", "MOST_NUMBERS", "attribute_choices", "known_activations", "node_numbers"]

ALIKE: tuple[tuple[str, ...], ...] = (
    *(("silu",), ("relu",), ("relu2",), ("gelu", "gelu_tanh"), ("relu6",), ("leaky_relu",), ("elu",)),
    *(("tanh",), ("sigmoid",), ("softplus",), ("hard_swish",), *((name,) for name in NEEDS_GATE)),
)
"""In the order in which they are tried; those so alike that the nearer one is taken stand together."""
MOST_NUMBERS = 8
"""How many constants may be an activation's attributes: all arrangements of them are tried."""
DEFAULT_ALPHA = {"LeakyRelu": 0.01, "Elu": 1.0}
"""What these nodes have where they don't say."""


def known_activations() -> str:
    """Their names, for messages."""
    return ", ".join(name for names in ALIKE for name in names)


def node_numbers(node: ir.Node) -> Iterator[float]:
    """The magnitudes of a node's attributes that may be an activation's."""
    if node.op_type in DEFAULT_ALPHA:
        yield abs(node.attributes.get_float("alpha", DEFAULT_ALPHA[node.op_type]))


def attribute_choices(activation: str, numbers: Set[float]) -> Iterator[dict[str, float]]:
    """Every arrangement of some numbers as an activation's attributes; one without any where it has none.

    Args:
        activation: Its name.
        numbers: What they may be; all are positive.
    """
    names = ACTIVATION_ATTRIBUTES.get(activation, ())
    for values in product(*(_choices(name, numbers) for name in names)):
        yield dict(zip(names, values, strict=True))


def _choices(attribute: str, numbers: Set[float]) -> Iterable[float]:
    also = {"activation_alpha": {1.0}, "activation_beta": {0.0}}
    return sorted({*numbers, *also.get(attribute, ())})
