"""What the names of a checkpoint say: which unit a weight belongs to, and what units are called."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hetc.plan.words import Kind

__all__ = ["WeightRole", "layer_name", "unit_id", "unit_of_weight"]

# First match wins. Groups: layer (where there is one) and projection.
WEIGHT_NAMES: tuple[tuple[Kind, str], ...] = (
    ("router", r"layers\.(?P<layer>\d+)\.\w+\.(?P<projection>gate|router|shared_expert_gate)\.\w+$"),
    ("shared_expert", r"layers\.(?P<layer>\d+)\..*shared_experts?\.(?P<projection>\w+)\.(weight|bias)$"),
    ("attention", r"layers\.(?P<layer>\d+)\.(self_attn|attention|attn)\.(?P<projection>\w+)\.(weight|bias)$"),
    (
        "dense_mlp",
        r"layers\.(?P<layer>\d+)\.(mlp|feed_forward)\.(?P<projection>\w+_proj|w[123]|fc[12])\.(weight|bias)$",
    ),
    ("lm_head", r"(^|\.)(?P<projection>lm_head)\.(weight|bias)$"),
    ("embedding", r"(^|\.)(?P<projection>embed_tokens|wte|word_embeddings)\.weight$"),
)


@dataclass(frozen=True)
class WeightRole:
    """What the name of a weight outside the experts says.

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
    if "norm" in name.rsplit(".", 2)[-2:][0]:
        return None
    for kind, pattern in WEIGHT_NAMES:
        if match := re.search(pattern, name):
            layer = int(match["layer"]) if "layer" in match.groupdict() else None
            return WeightRole(kind, layer, match["projection"])
    return None


def unit_id(kind: Kind, layer: int | None) -> str:
    """The id of a unit of which a layer has one: `layers.3.attention`, `lm_head`."""
    name = "mlp" if kind == "dense_mlp" else kind
    return name if layer is None else f"layers.{layer}.{name}"


def layer_name(path: str) -> str:
    """`layers.3` for `model.layers.3.mlp.experts`; without a layer, the path less `.experts`."""
    match = re.search(r"(?:^|\.)(layers\.\d+)\.", path)
    return match[1] if match else path.removesuffix(".experts")
