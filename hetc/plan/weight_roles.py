"""What names say of a weight: which unit it belongs to, and what units are called.

A checkpoint's weight is called `model.layers.3.self_attn.q_proj.weight`, a node that multiplies by it
`/model/layers.3/self_attn/q_proj/MatMul`, the scope of that node `model.layers.3.self_attn.q_proj`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hetc.plan.words import KINDS, Kind

__all__ = ["WeightRole", "kind_of_id", "layer_name", "unit_id", "unit_of_scope", "unit_of_weight"]

LAYER = re.compile(r"(?:^|[./])(?:layers?|blocks?|h)[._](?P<layer>\d+)[./](?P<rest>.+)$")
EXPERTS = re.compile(r"(?:^|[./])experts?[./]")
NO_MATRIX = re.compile(r"norm|rotary")
"""Parts of a layer whose weights belong to no unit."""

# What a layer's weights are called after `layers.3.`; first match wins.
IN_LAYER: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (
        "attention",
        re.compile(
            r"(?:^|[./])(?:self_attn|self_attention|linear_attn|attention|attn|mamba)[./](?P<projection>.+)"
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
            r"(?:^|[./])(?:mlp|feed_forward|mixer)[./]"
            r"(?P<projection>\w+_proj|w[123]|fc[12]|c_fc|dense_h_to_4h|dense_4h_to_h)(?:[./]|$)"
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
    """

    kind: Kind
    layer: int | None
    projection: str

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
                return None if NO_MATRIX.search(last) else WeightRole(kind, layer, projection)
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


def layer_name(path: str) -> str:
    """`layers.3` for `model.layers.3.mlp.experts`; without a layer, the path less `.experts`."""
    match = re.search(r"(?:^|\.)(layers\.\d+)\.", path)
    return match[1] if match else path.removesuffix(".experts")


def _without_ending(path: str) -> str:
    """`q_proj` of `q_proj/MatMul`, `q_proj.weight.float32`, `q_proj/MatMul_1` and `q_proj`."""
    while (shorter := ENDING.sub("", path)) != path:
        path = shorter
    return path.replace("/", ".")
