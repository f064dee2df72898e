"""An encoder-decoder of transformers without weights -> an ONNX graph with one placeholder per MoE layer.

`input_ids`, `attention_mask` (zeros for padding) and `decoder_input_ids` -> `logits` of each token that may
follow the decoder's. One graph holds both halves, so that one plan places both, and it keeps no cache: each
token costs a run of the whole.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch
from transformers import PreTrainedModel

from hetc.huggingface.export.to_graph import Traced

__all__ = ["trace_encoder_decoder"]

# Different from each other and from 1, so that the tracer takes none for another or for a constant.
BATCH, SOURCE, TARGET = 2, 5, 3


def trace_encoder_decoder(model: PreTrainedModel) -> ir.Model:
    """Trace `model`; initializers have the names of its parameters and no values.

    Args:
        model: from `skeleton`, off the device `meta`.
    """
    ids, target = (torch.zeros(BATCH, length, dtype=torch.int64) for length in (SOURCE, TARGET))
    token = dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC)
    return _EncoderDecoder(model).to_graph(
        (ids, torch.ones_like(ids), target),
        (token, token, token),
        ["input_ids", "attention_mask", "decoder_input_ids"],
        ["logits"],
        {
            ("attention_mask", 0): "batch",
            ("input_ids", 0): "batch",
            ("input_ids", 1): "sequence",
            ("decoder_input_ids", 1): "target_sequence",
        },
    )


class _EncoderDecoder(Traced):
    """The model as a function of tensors."""

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, decoder_input_ids: torch.Tensor
    ) -> list[torch.Tensor]:
        model: Any = self.model
        output = model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            use_cache=False,
        )
        return [output.logits]
