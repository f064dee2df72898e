"""A decoder of transformers without weights -> an ONNX graph with one placeholder per MoE layer.

Inputs and outputs carry onnxruntime-genai's default names; batch, sequence and past length are dynamic.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch
from transformers import PreTrainedModel

from hetc.huggingface.cache import CachedTensor, cache_argument, empty_cache, fill_cache, read_cache
from hetc.huggingface.export.images import features_as_outputs, image_inputs, image_stand_ins
from hetc.huggingface.export.stand_ins import stand_ins
from hetc.huggingface.export.to_graph import Traced

__all__ = ["trace"]

# Different from each other and from 1, so that the tracer takes none for another or for a constant.
BATCH, SEQUENCE, PAST = 2, 3, 5
IMAGE_TOKENS = 7


def trace(model: PreTrainedModel, cache: list[CachedTensor]) -> ir.Model:
    """Trace `model`; initializers have the names of its parameters and no values.

    Args:
        model: from `skeleton`, off the device `meta`.
        cache: the tensors that it carries from one step to the next.
    """
    images = image_inputs(model.config)
    past = [torch.zeros(BATCH, *(PAST if size is None else size for size in one.shape)) for one in cache]
    ids = torch.zeros(BATCH, SEQUENCE, dtype=torch.int64)
    axes = () if images is None or images.axes == 1 else (images.axes,)
    positions = torch.zeros(*axes, BATCH, SEQUENCE, dtype=torch.int64)
    mask = torch.ones(BATCH, PAST + SEQUENCE, dtype=torch.int64)
    features = {} if images is None else images.zeros(IMAGE_TOKENS)
    dynamic = torch.export.Dim.DYNAMIC
    token = {0: dynamic, 1: dynamic}
    grows = [[0, *(axis for axis, size in enumerate(one.shape, 1) if size is None)] for one in cache]
    names = [one.name for one in cache]
    sizes = {
        ("attention_mask", 0): "batch",
        ("attention_mask", 1): "total_sequence",
        **{(f"past_key_values.{one.name}", 0): "batch" for one in cache if one.part == "key"},
        **{(f"past_key_values.{one.name}", 2): "past_sequence" for one in cache if one.part == "key"},
        ("input_ids", 0): "batch",
        ("input_ids", 1): "sequence",
        **{(name, one.dim() - 2): "image_tokens" for name, one in features.items()},
    }
    with stand_ins(), image_stand_ins(model):
        return _Decoder(model, cache).to_graph(
            (ids, mask, positions, list(features.values()), past),
            (
                token,
                token,
                {axis + len(axes): dynamic for axis in token},
                [{one.dim() - 2: dynamic} for one in features.values()],
                [dict.fromkeys(each, dynamic) for each in grows],
            ),
            [
                "input_ids",
                "attention_mask",
                "position_ids",
                *features,
                *(f"past_key_values.{name}" for name in names),
            ],
            ["logits", *(f"present.{name}" for name in names)],
            sizes,
        )


class _Decoder(Traced):
    """The model as a function of tensors: the cache goes in and comes out as a flat list."""

    def __init__(self, model: PreTrainedModel, cache: list[CachedTensor]) -> None:
        super().__init__(model)
        self.cache = cache
        self.keys = next((index for index, one in enumerate(cache) if one.part == "key"), None)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        features: list[torch.Tensor],
        past: list[torch.Tensor],
    ) -> list[torch.Tensor]:
        if self.keys is not None:
            check: Any = torch._check
            tokens = past[self.keys].shape[2]
            check(attention_mask.shape[1] == tokens + input_ids.shape[1])
            for one, tensor in zip(self.cache, past, strict=True):
                if one.part in ("compressor", "indexer"):
                    check(tensor.shape[1] == tokens)
        cache = empty_cache(self.model.config)
        fill_cache(cache, self.cache, past)
        images = {"mm_encoder_outputs": features_as_outputs(features)} if features else {}
        output = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=True,
            **images,
            **{cache_argument(self.model): cache},
        )
        return [output.logits, *read_cache(cache)]
