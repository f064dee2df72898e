"""Inputs for a model, made from what it declares: the names of a cached language model, or shapes.

A language model takes `input_ids`. Besides, hetc knows these inputs, and refuses others by name:

| input | what is fed |
|---|---|
| `attention_mask` `[batch, total]` | ones: every token is attended to |
| `position_ids`, `cache_position` | 0, 1, 2, ... and on from there; of time, height and width the same |
| `token_type_ids` | zeros |
| `decoder_input_ids` | what an encoder-decoder has written so far |
| `num_logits_to_keep`, `logits_to_keep` | 0, which stands for all |
| `image_features`, `deepstack_features` | none: a prompt of text alone |
| `past_key_values.*`, `past.*` | an empty cache or zeros, then the `present.*` of the step before |

Sizes that a model doesn't declare are looked up in `genai_config.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hetc.base.errors import InvalidInputError
from hetc.model.generation_config import GENAI_CONFIG, genai_decoder
from hetc.model.tokens import check_vocabulary

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["first_step", "is_encoder_decoder", "next_step", "prompt_shape"]

TYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}
IMAGE_SIZE = 224
"""Height and width that most vision models were made for, and many multiples of what they divide by."""
ALL_LOGITS = ("num_logits_to_keep", "logits_to_keep")
IMAGES = ("image_features", "deepstack_features")
CACHES = ("past.", "past_key_values.")


def prompt_shape(session: onnxruntime.InferenceSession, batch: int, sequence: int) -> tuple[int, int]:
    """Rows and tokens that a model takes at a time: what it declares, else `batch` and `sequence`."""
    declared = {value.name: value.shape for value in session.get_inputs()}.get("input_ids")
    if declared is None or len(declared) not in (1, 2):
        return batch, sequence
    sizes = (1, declared[0]) if len(declared) == 1 else tuple(declared)
    rows, tokens = (
        size if isinstance(size, int) else free for size, free in zip(sizes, (batch, sequence), strict=True)
    )
    return rows, tokens


def is_encoder_decoder(session: onnxruntime.InferenceSession) -> bool:
    """Whether a model reads one text and writes another."""
    return "decoder_input_ids" in {value.name for value in session.get_inputs()}


def first_step(
    session: onnxruntime.InferenceSession,
    tokens: np.ndarray,
    folder: Path | None = None,
    free: int = 2,
    written: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Inputs of a prefill: `tokens` `[batch, sequence]`, everything attended, an empty cache.

    A model without `input_ids` gets standard normal numbers (seed 0) in the shapes that it declares, with
    2 for every free dimension, or `free` for the last one: how many rows an MoE layer of its own gets. Free
    heights and widths of images are 224. A dimension of one name has one size.

    Args:
        session: The model.
        tokens: Token ids; one row for a model whose `input_ids` are `[sequence]`.
        folder: Where its `genai_config.json` may lie.
        free: Last free dimension of the inputs of a model without `input_ids`.
        written: What an encoder-decoder has written, `[batch, sequence]`; None for `tokens` again.

    Raises:
        InvalidInputError: An input that hetc has nothing for, or another number of tokens than it takes.
    """
    inputs = session.get_inputs()
    for value in inputs:
        if value.type not in TYPES:
            raise InvalidInputError(f"input {value.name!r} is {value.type}; hetc feeds {', '.join(TYPES)}")
    if "input_ids" not in {value.name for value in inputs}:
        random, known = np.random.default_rng(0), dict[str, int]()
        return {
            value.name: random.standard_normal(_sizes(value.shape, free, known)).astype(TYPES[value.type])
            for value in inputs
        }
    check_vocabulary(tokens, _vocabulary(session), "the data")
    decoder = genai_decoder(folder)
    longest = decoder.get("context_length")
    if isinstance(longest, int) and tokens.shape[1] > longest:
        raise InvalidInputError(
            f"{tokens.shape[1]} tokens in a row are more than the {longest} that {GENAI_CONFIG} gives as the "
            "model's context; take a shorter window"
        )
    written = tokens if written is None else written
    return {value.name: _language_input(value, tokens, written, decoder) for value in inputs}


def _sizes(declared: Sequence[int | str | None], free: int, known: dict[str, int]) -> list[int]:
    """A shape of the one that is declared; `known` are the sizes that names have, and get the new ones."""
    last = max((axis for axis, size in enumerate(declared) if not isinstance(size, int)), default=-1)
    image = len(declared) == 4 and not any(isinstance(size, int) for size in declared[2:])
    sizes = []
    for axis, size in enumerate(declared):
        chosen = IMAGE_SIZE if image and axis > 1 else free if axis == last else 2
        sizes.append(size if isinstance(size, int) else known.setdefault(size, chosen) if size else chosen)
    return sizes


def next_step(
    feeds: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    tokens: np.ndarray,
    rows: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Inputs of the step after `feeds` gave `outputs`, the cache carried over.

    Args:
        feeds, outputs: Those of the step before.
        tokens: Token ids `[batch, sequence]`.
        rows: `[batch]`, which row of the step before each row goes on from; None for its own.
    """
    more = tokens.shape[1]
    picked: Any = slice(None) if rows is None else rows
    step = {}
    for name, value in outputs.items():
        if name.startswith("present."):
            state, cached = (name.replace("present.", cache, 1) for cache in CACHES)
            step[state if state in feeds else cached] = value[picked]
    for name, value in feeds.items():
        if name == "input_ids":
            step[name] = tokens.reshape(-1) if value.ndim == 1 else tokens
            step[name] = step[name].astype(value.dtype)
        elif name == "attention_mask":
            step[name] = np.concatenate([value, np.ones((len(value), more), value.dtype)], axis=-1)[picked]
        elif name in ("position_ids", "cache_position"):
            step[name] = value[..., -1:] + np.arange(1, more + 1, dtype=value.dtype)
        elif name == "token_type_ids":
            step[name] = np.zeros((*value.shape[:-1], more), value.dtype)
        elif not name.startswith(CACHES):
            step[name] = value
        if name in ("position_ids", "token_type_ids") and value.ndim > 1:
            step[name] = step[name][..., picked, :]
    return step


def _vocabulary(session: onnxruntime.InferenceSession) -> int | None:
    """How many tokens a model makes logits for; None where it doesn't say."""
    sizes = (value.shape[-1] for value in session.get_outputs() if value.name == "logits" and value.shape)
    return next((size for size in sizes if isinstance(size, int)), None)


def _language_input(
    value: Any, tokens: np.ndarray, written: np.ndarray, decoder: Mapping[str, Any]
) -> np.ndarray:
    """What one input of a language model gets in its first step."""
    kind, (batch, sequence) = TYPES[value.type], tokens.shape
    if value.name.startswith(CACHES):
        return np.zeros((batch, *_cache_sizes(value, decoder)), kind)
    if value.name in ALL_LOGITS:
        return np.zeros([1 for _ in value.shape], kind)
    if value.name in IMAGES:
        return np.zeros([size if isinstance(size, int) else 0 for size in value.shape], kind)
    positions: np.ndarray = np.arange(sequence, dtype=np.int64).astype(kind)
    if value.name == "cache_position":
        return _fitting(value, positions)
    known = {
        "input_ids": tokens.astype(kind),
        "decoder_input_ids": written.astype(kind),
        "attention_mask": np.ones((batch, sequence), kind),
        "token_type_ids": np.zeros((batch, sequence), kind),
        "position_ids": np.tile(positions, (batch, 1)),
    }
    if value.name not in known:
        raise InvalidInputError(
            f"input {value.name!r} {list(value.shape)} is none that hetc knows of a language model; export "
            "the model without it, or give it a value as an initializer"
        )
    rows = known[value.name]
    if value.name == "position_ids" and len(value.shape) == 3:
        rows = np.tile(rows, (3, 1, 1))
    return _fitting(value, rows[0] if len(value.shape) == 1 and batch == 1 else rows)


def _fitting(value: Any, fed: np.ndarray) -> np.ndarray:
    """What is fed, if it has the shape that is declared."""
    shape = list(value.shape)
    if len(shape) != fed.ndim or any(
        isinstance(size, int) and size != own for size, own in zip(shape, fed.shape, strict=True)
    ):
        raise InvalidInputError(
            f"input {value.name!r} is declared {shape}, but is to take {list(fed.shape)}; give as many "
            "tokens and windows as it takes, or export the model with free sizes"
        )
    return fed


def _cache_sizes(value: Any, decoder: Mapping[str, Any]) -> list[int]:
    """The sizes of an empty cache after its batch: one is the number of tokens seen, which is 0."""
    sizes = list(value.shape[1:])
    if len(sizes) == 3 and value.name.endswith((".key", ".value")):
        for axis, name in ((0, "num_key_value_heads"), (2, "head_size")):
            if not isinstance(sizes[axis], int) and isinstance(decoder.get(name), int):
                sizes[axis] = decoder[name]
        if isinstance(sizes[1], int) and sizes[1] > 0:
            raise InvalidInputError(
                f"input {value.name!r} {list(value.shape)} is a cache of {sizes[1]} tokens, whose length "
                "can't change; export the model with a cache that grows"
            )
    free = [size for size in sizes if not isinstance(size, int)]
    if len(free) > 1:
        raise InvalidInputError(
            f"input {value.name!r} {list(value.shape)} has free sizes; declare them, or give "
            f"num_key_value_heads and head_size in {GENAI_CONFIG} beside the model"
        )
    return [size if isinstance(size, int) else 0 for size in sizes]
