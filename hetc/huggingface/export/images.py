"""Models of text and images: their text part takes what the vision tower made of the images.

The graph has the input `image_features`, a row for each image token in the order of the tokens, and, for
families that add features of several depths (DeepStack), `deepstack_features`. Both may be empty: a prompt
of text alone needs none. The vision tower is a graph of its own (`hetc.huggingface.export.vision`), so that
what is placed on crossbars is the text part, and a prompt's images are looked at once and not at every token.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from transformers import PretrainedConfig, PreTrainedModel

__all__ = ["WITH_IMAGES", "ImageInputs", "features_as_outputs", "image_inputs", "image_stand_ins"]

WITH_IMAGES = ("llama4", "qwen3_vl_moe")
"""Model types whose text part is exported with its images; of others it is exported without."""


@dataclass(frozen=True)
class ImageInputs:
    """What the text part of a model takes of its images.

    Attributes:
        width: Of a row of `image_features`.
        depths: Layers behind which features are added besides; 0 for none.
        axes: Positions of a token: 3 for a rotary embedding of time, height and width, else 1.
    """

    width: int
    depths: int
    axes: int

    def zeros(self, tokens: int) -> dict[str, torch.Tensor]:
        """The graph's inputs by name, for so many image tokens."""
        features = {"image_features": torch.zeros(tokens, self.width)}
        if self.depths:
            features["deepstack_features"] = torch.zeros(self.depths, tokens, self.width)
        return features


def image_inputs(config: PretrainedConfig) -> ImageInputs | None:
    """What a configuration's model takes of its images; None for a model of text."""
    if config.model_type not in WITH_IMAGES:
        return None
    text: Any = config.get_text_config()
    depths = getattr(getattr(config, "vision_config", None), "deepstack_visual_indexes", None) or ()
    axes = 3 if "mrope_section" in (getattr(text, "rope_parameters", None) or {}) else 1
    return ImageInputs(text.hidden_size, len(depths), axes)


class _TowerOutput(SimpleNamespace):
    """What a vision tower returns, as far as the text part reads it."""

    def to_tuple(self) -> tuple[()]:
        """Nothing of it is an output of the text part."""
        return ()


def features_as_outputs(features: Sequence[torch.Tensor]) -> dict[str, Any]:
    """`image_features`, and `deepstack_features` if there are any, as the vision tower returns them."""
    rows, *deepstack = features
    return {
        "image": _TowerOutput(
            pooler_output=[rows], deepstack_features=[[one] for one in deepstack[0]] if deepstack else []
        )
    }


@contextlib.contextmanager
def image_stand_ins(model: PreTrainedModel) -> Iterator[None]:
    """Writes features over image tokens in operators that trace, whatever number of them there is."""
    module = sys.modules[type(model).__module__]
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch.Tensor, "masked_scatter", _put_rows))
        # The number of image tokens and of features agree by how the prompt is made.
        if hasattr(module, "torch_compilable_check"):
            stack.enter_context(mock.patch.object(module, "torch_compilable_check", lambda *_, **__: None))
        for one in model.modules():
            if hasattr(one, "_deepstack_process"):
                stack.enter_context(mock.patch.object(one, "_deepstack_process", _add_rows))
        yield


def _put_rows(embedded: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The rows in the place of the tokens of `mask`, in order; tokens beyond the last row stay.

    Args:
        embedded: `[batch, sequence, width]`.
        mask: `[batch, sequence, 1]`, or repeated along the last axis.
        rows: `[tokens, width]`.
    """
    flags = mask[..., 0]
    number = flags.flatten().to(torch.int64).cumsum(0) - 1
    rows = rows.reshape(-1, embedded.shape[-1])
    count = rows.shape[0]
    # A row more, which nothing takes: of no rows, none could be looked up.
    rows = torch.cat((rows, rows.new_zeros(1, rows.shape[1])))
    found = rows[number.clamp(0, count)].reshape(embedded.shape)
    taken = flags & (number < count).reshape(flags.shape)
    return torch.where(taken.unsqueeze(-1), found, embedded)


def _add_rows(hidden: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The rows added to the tokens of `mask`."""
    return hidden + _put_rows(torch.zeros_like(hidden), mask.unsqueeze(-1), rows)
