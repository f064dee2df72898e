"""bitsandbytes' 4 bits (NF4, FP4): an index into sixteen values, times the largest of each block.

Beside `X.weight`, uint8 with two values a byte, the first in the high bits, lie `.absmax` of its blocks,
`.quant_map` with the sixteen values, and `.quant_state.bitsandbytes__nf4`, which is JSON: `shape`,
`blocksize`, `dtype`. With double quantisation `.absmax` is itself an index, into `.nested_quant_map`, times
`.nested_absmax`, plus `nested_offset`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch

from hetc.huggingface.quantised.packed_tensor import PackedTensor, Parts, Stored, load
from hetc.huggingface.quantised.scheme import Format, Settings

__all__ = ["BITSANDBYTES"]

STATES = (".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4")
NESTED = (".nested_absmax", ".nested_quant_map")
"""What `.absmax` is quantised with, where it is."""
TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""Types that values are rounded to, before they become bfloat16."""


def _check(settings: Settings) -> None:
    if not settings.values.get("load_in_4bit"):
        settings.refuse("load_in_4bit", settings.values.get("load_in_4bit"), "4 bits (true)")


def _pack(settings: Settings, name: str, stored: Stored) -> PackedTensor:
    places = [stored[ending] for ending in STATES if ending in stored]
    if len(places) != 1:
        raise ValueError(f"{len(places)} of {' and '.join(STATES)}; it needs one")
    state = json.loads(load(places[0]).numpy().tobytes())
    shape = tuple(int(size) for size in state["shape"])
    if state["dtype"] not in TYPES:
        raise ValueError(f"dtype is {state['dtype']!r}, not one of {', '.join(TYPES)}")
    nested = [ending for ending in NESTED if ending in stored]
    if nested != (list(NESTED) if stored[".absmax"].dtype == "U8" else []):
        raise ValueError(
            f".absmax is {stored['.absmax'].dtype} beside {' and '.join(nested) or 'no nested parts'}"
        )
    parts = {ending: part for ending, part in stored.items() if ending not in STATES}
    return PackedTensor(name, shape, parts, lambda parts: _unpack(parts, state, shape))


def _unpack(parts: Parts, state: Mapping[str, Any], shape: tuple[int, ...]) -> torch.Tensor:
    largest = parts[".absmax"]
    if ".nested_absmax" in parts:
        nested = parts[".nested_quant_map"][largest.int()]
        largest = _scaled(nested, parts[".nested_absmax"], state["nested_blocksize"])
        largest += state["nested_offset"]
    packed = parts[""].flatten()
    values = parts[".quant_map"][torch.stack((packed >> 4, packed & 15), dim=-1).flatten().int()]
    values = _scaled(values[: math.prod(shape)], largest.float(), state["blocksize"])
    return values.to(TYPES[state["dtype"]]).bfloat16().reshape(shape)


def _scaled(values: torch.Tensor, largest: torch.Tensor, block: int) -> torch.Tensor:
    """Each block of values times its number; the last block may be shorter."""
    whole = len(values) // block * block
    values[:whole].view(-1, block).mul_(largest[: whole // block].unsqueeze(-1))
    if whole < len(values):
        values[whole:] *= largest[whole // block]
    return values


BITSANDBYTES = Format(
    endings=("", ".absmax", ".quant_map", *NESTED, *STATES),
    needed=("", ".absmax", ".quant_map"),
    pack=_pack,
    check=_check,
)
