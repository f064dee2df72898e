"""What a model carries from one step to the next, as a list of tensors: inputs and outputs of its graph.

Attention layers keep keys and values of every token, sparse attention also the keys of its indexer. Linear
attention, convolutions and state spaces keep states of a fixed size.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import (
    DummyLayer,
    DynamicIndexedLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)
from transformers.models.minimax.modeling_minimax import MiniMaxCache

__all__ = ["CachedTensor", "cache_argument", "empty_cache", "fill_cache", "find_cache", "read_cache"]


class CompressedLayer(DynamicLayer):
    """A layer of DeepSeek-V4's: its values are its keys, and it keeps what keys of whole windows are made of.

    Attributes:
        tokens: By the module that compresses, `[batch, tokens, width]`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tokens: dict[str, torch.Tensor] = {}

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor | None, *arguments: Any, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys; all of them, twice."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, key_states)
            self.values: Any = None
        keys: torch.Tensor = torch.cat((self.keys, key_states), dim=-2)
        self.keys: Any = keys
        return keys, keys

    def update_tokens(self, name: str, new: torch.Tensor) -> torch.Tensor:
        """Append to what a module keeps; all of it."""
        self.tokens[name] = torch.cat((self.tokens[name], new), dim=1) if name in self.tokens else new
        return self.tokens[name]


KNOWN_LAYERS = (
    CompressedLayer,
    DummyLayer,
    DynamicIndexedLayer,
    DynamicLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionLayer,
)


TOKENS_AXIS = {"key": 2, "value": 2, "index": 1, "compressor": 1, "indexer": 1}
"""Parts of the cache that grow -> the axis that counts tokens."""


@dataclass(frozen=True)
class CachedTensor:
    """One tensor of the cache.

    Attributes:
        layer: Index of the layer that keeps it.
        part: `key`, `value`, `index`, `compressor` and `indexer` of compressed attention, or `conv.N` and
            `recurrent.N`, the layer's state N.
        shape: Without the batch, which comes first; None is the number of tokens seen.
    """

    layer: int
    part: str
    shape: tuple[int | None, ...]

    @property
    def name(self) -> str:
        """Its name in the graph after `past_key_values.` or `present.`."""
        return f"{self.layer}.{self.part}"


class LightningCache(MiniMaxCache):
    """MiniMax's cache, with the states of its linear attention in layers as every other family has them."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        DynamicCache.__init__(self, config=config)

    def get_linear_cache(self, layer_idx: int) -> torch.Tensor | None:
        """The state of a layer."""
        layers: list[Any] = self.layers
        state: torch.Tensor | None = layers[layer_idx].recurrent_states[0]
        return state

    def set_linear_cache(self, layer_idx: int, linear_cache: torch.Tensor) -> None:
        """Replace the state of a layer."""
        self.update_recurrent_state(linear_cache, layer_idx)


def empty_cache(config: PretrainedConfig) -> DynamicCache:
    """The cache of a model. All attention layers keep their whole past: sliding windows are the mask's."""
    cache = LightningCache(config) if config.model_type == "minimax" else DynamicCache(config=config)
    whole: Any = DynamicLayer
    for index, layer in enumerate(cache.layers):
        if config.model_type == "deepseek_v4":
            cache.layers[index] = CompressedLayer()
        elif type(layer) is DynamicSlidingWindowLayer:
            cache.layers[index] = whole()
        elif isinstance(layer, LinearAttentionAndSlidingWindowAttentionLayer):
            cache.layers[index] = LinearAttentionAndFullAttentionLayer(layer.number_of_states)
    return cache


def cache_argument(model: PreTrainedModel) -> str:
    """The name of the argument that a model's cache is given as: transformers 5.24 shortened it."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def find_cache(model: PreTrainedModel) -> list[CachedTensor]:
    """The tensors that a model on the device `meta` caches, found by running it (MLA caches latents).

    Raises:
        TypeError: a layer keeps something that hetc cannot carry.
    """
    tokens = 3
    cache = empty_cache(model.config)
    ids = torch.zeros(2, tokens, dtype=torch.int64, device="meta")
    with torch.no_grad():
        model(input_ids=ids, position_ids=ids, **{cache_argument(model): cache}, use_cache=True)
    for index, layer in enumerate(cache.layers):
        if type(layer) not in KNOWN_LAYERS:
            raise TypeError(
                f"layer {index} keeps its past as {type(layer).__name__}, which hetc cannot carry"
            )
    found = []
    for index, part, tensor in _parts(cache):
        axis = TOKENS_AXIS.get(part)
        shape = tuple(None if at == axis else size for at, size in enumerate(tensor.shape))
        found.append(CachedTensor(index, part, shape[1:]))
    return found


def read_cache(cache: DynamicCache) -> list[torch.Tensor]:
    """The tensors of a cache, in the order of `find_cache`."""
    return [tensor for _, _, tensor in _parts(cache)]


def fill_cache(cache: DynamicCache, cached: Sequence[CachedTensor], tensors: Sequence[torch.Tensor]) -> None:
    """Put tensors into an empty cache."""
    given = {(one.layer, one.part): tensor for one, tensor in zip(cached, tensors, strict=True)}
    for (index, part), tensor in given.items():
        layer: Any = cache.layers[index]
        kind, _, number = part.partition(".")
        if kind == "key":
            layer.update(tensor, given.get((index, "value")))
        elif kind == "index":
            layer.update_indexer(tensor)
        elif isinstance(layer, CompressedLayer) and kind != "value":
            layer.update_tokens(kind, tensor)
        elif kind in ("conv", "recurrent"):
            # Models update states in place, and a graph's inputs are not theirs to change.
            getattr(layer, f"{kind}_states")[int(number)] = tensor.clone()
            getattr(layer, f"is_{kind}_states_initialized")[int(number)] = True
            layer.has_previous_state[int(number)] = True
            layer.dtype, layer.device = tensor.dtype, tensor.device
            if kind == "conv":
                layer.conv_kernel_size[int(number)] = tensor.shape[-1]


def _parts(cache: DynamicCache) -> Iterator[tuple[int, str, torch.Tensor]]:
    layers: list[Any] = cache.layers
    for index, layer in enumerate(layers):
        if getattr(layer, "keys", None) is not None:
            yield index, "key", layer.keys
            if layer.values is not None:
                yield index, "value", layer.values
        if isinstance(layer, DynamicIndexedLayer) and layer.indexer_keys is not None:
            yield index, "index", layer.indexer_keys
        if isinstance(layer, CompressedLayer):
            for name, tokens in layer.tokens.items():
                yield index, name, tokens
        for kind in ("conv", "recurrent"):
            for number, state in getattr(layer, f"{kind}_states", {}).items():
                if state is not None:
                    yield index, f"{kind}.{number}", state
