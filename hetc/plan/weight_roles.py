"""What names say of a weight: which unit it belongs to, and what units are called.

A checkpoint's weight is called `model.layers.3.self_attn.q_proj.weight`, a node that multiplies by it
`/model/layers.3/self_attn/q_proj/MatMul`, the scope of that node `model.layers.3.self_attn.q_proj`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hetc.plan.words import KINDS, Kind

__all__ = [
    "WeightRole",
    "encoder_layers",
    "in_tower",
    "kind_of_id",
    "layer_name",
    "layer_of",
    "unit_id",
    "unit_of_scope",
    "unit_of_weight",
]

LAYER = re.compile(r"(?:^|[./])(?:layers?|blocks?|h)[._](?P<layer>\d+)[./](?P<rest>.+)$")
STACK = re.compile(r"(?:^|[./])(encoder|decoder)[./]")
TOWER = re.compile(
    r"(?:^|[./])(?:visual|(?:vision|audio|image|video)_(?:tower|model|encoder)|multi_modal_projector|mm_projector)[./]"
)
EXPERTS = re.compile(r"(?:^|[./])experts?[./]")
NO_MATRIX = re.compile(r"norm|rotary|relative_attention_bias")
"""Parts of a layer whose weights belong to no unit."""

# What a layer's weights are called after `layers.3.`; first match wins.
IN_LAYER: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (
        "attention",
        re.compile(
            r"(?:^|[./])(?:self_attn|self_attention|SelfAttention|linear_attn|attention|attn|mamba)[./]"
            r"(?P<projection>.+)"
        ),
    ),
    # What a decoder's layer asks its encoder with belongs to the same unit.
    (
        "attention",
        re.compile(
            r"(?:^|[./])(?P<projection>(?:encoder_attn|cross_attn|cross_attention|EncDecAttention)[./].+)"
        ),
    ),
    # Nemotron-H calls each layer's one part so, a state space or attention as well as MLP and experts.
    ("attention", re.compile(r"(?:^|[./])mixer[./](?P<projection>(?:q|k|v|o|in|out)_proj|conv1d)(?:[./]|$)")),
    ("router", re.compile(r"(?:^|[./])(?P<projection>shared_expert_gate)(?:[./]|$)")),
    ("shared_expert", re.compile(r"shared_(?:experts?|mlp)[./](?P<projection>.+)")),
    ("router", re.compile(r"[./](?P<projection>gate|router)(?:[./]|$)")),
    (
        "dense_mlp",
        re.compile(
            r"(?:^|[./])(?:mlp|feed_forward|ffn|mixer)[./]"
            r"(?P<projection>\w+_proj|w[123]|w[io]|fc[12]|c_fc|dense_h_to_4h|dense_4h_to_h)(?:[./]|$)"
        ),
    ),
)
OUTSIDE: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("lm_head", re.compile(r"(?:^|[./])(?P<projection>lm_head)(?:[./]|$)")),
    ("embedding", re.compile(r"(?:^|[./])(?P<projection>embed_tokens|wte|word_embeddings)[./]weight")),
)
WEIGHT = re.compile(r"[./](?:weight\w*|kernel|bias)$")
"""How the names of weights end; a router has others besides, such as the correction of its scores."""
ENDING = re.compile(r"(?:^|[./])(?:weight\w*|kernel|bias|linear|float32|[A-Z]\w*|mm|addmm|matmul)(?:_\d+)?$")
"""What follows the projection: the tensor's or the operator's own name."""


@dataclass(frozen=True)
class WeightRole:
    """What names say of a weight outside the experts.

    Attributes:
        kind: Kind of its unit.
        layer: Its layer, or None.
        projection: Which of the unit's matrices it is.
        stack: `encoder` or `decoder`, where the name says so; each counts its layers from 0.
    """

    kind: Kind
    layer: int | None
    projection: str
    stack: str = ""

    @property
    def unit_id(self) -> str:
        """Id of the unit."""
        return unit_id(self.kind, self.layer)


def unit_of_weight(name: str) -> WeightRole | None:
    """The role of a checkpoint's weight by its name; None for norms, experts and names that say nothing."""
    role = unit_of_scope(name)
    return role if role is not None and (role.kind == "router" or WEIGHT.search(name)) else None


def unit_of_scope(name: str) -> WeightRole | None:
    """The role of the weight of a product, by the name of its node or scope; None where it says nothing."""
    if inside := LAYER.search(name):
        layer, rest = int(inside["layer"]), inside["rest"]
        if EXPERTS.search(rest):
            return None
        for kind, pattern in IN_LAYER:
            if match := pattern.search(rest):
                projection = _without_ending(match["projection"]) or kind
                last = _without_ending(rest).replace("/", ".").rsplit(".", 1)[-1]
                return None if NO_MATRIX.search(last) else WeightRole(kind, layer, projection, stack_of(name))
        return None
    for kind, pattern in OUTSIDE:
        if match := pattern.search(name):
            return WeightRole(kind, None, match["projection"])
    return None


def unit_id(kind: Kind, layer: int | None) -> str:
    """The id of a unit of which a layer has one: `layers.3.attention`, `lm_head`."""
    name = "mlp" if kind == "dense_mlp" else kind
    return name if layer is None else f"layers.{layer}.{name}"


def kind_of_id(unit: str) -> Kind:
    """The kind of a unit by its id."""
    if ".experts." in unit:
        return "expert"
    name = unit.rpartition(".")[2]
    return "dense_mlp" if name == "mlp" else next(kind for kind in KINDS if kind == name)


def stack_of(name: str) -> str:
    """`encoder` or `decoder`, whichever half of a model a name says it is of; empty where it says neither."""
    match = STACK.search(name)
    return match[1] if match else ""


def encoder_layers(layers: Iterable[tuple[str, int]]) -> int:
    """By how much the layers of a decoder are numbered on: as many as the encoder before it has.

    Args:
        layers: The stack and number of every layer of a model, as often as they come.

    Returns:
        0 for a model that isn't made of both.
    """
    found = list(layers)
    if not any(stack == "decoder" for stack, _ in found):
        return 0
    return max((number + 1 for stack, number in found if stack == "encoder"), default=0)


def layer_of(name: str) -> tuple[str, int] | None:
    """Stack and number of the layer that a name is of."""
    match = LAYER.search(name)
    return None if match is None else (stack_of(name), int(match["layer"]))


def in_tower(name: str) -> bool:
    """Whether a name is of the part of a model that looks at images or listens, and not of its text part."""
    return TOWER.search(name) is not None


def layer_name(path: str, before: int = 0) -> str:
    """`layers.3` for `model.layers.3.mlp.experts`; without a layer, the path less `.experts`.

    Args:
        path: Of a module.
        before: What `encoder_layers` says of the model.
    """
    layer = layer_of(path)
    if layer is None:
        return path.removesuffix(".experts")
    stack, number = layer
    return f"layers.{number + before if stack == 'decoder' else number}"


def _without_ending(path: str) -> str:
    """`q_proj` of `q_proj/MatMul`, `q_proj.weight.float32`, `q_proj/MatMul_1` and `q_proj`."""
    while (shorter := ENDING.sub("", path)) != path:
        path = shorter
    return path.replace("/", ".")
