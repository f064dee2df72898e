"""The vision tower of a model -> an ONNX graph in standard operators: `pixel_values` -> `image_features`.

What it gives goes into the text part (`hetc.huggingface.export.images`). Nothing of it is placed.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import onnx_ir as ir
import torch
from transformers import PreTrainedModel

from hetc.huggingface.export.to_graph import Traced

__all__ = ["trace_vision"]

DYNAMIC = torch.export.Dim.DYNAMIC
IMAGES = 3
ROWS, COLUMNS = 6, 4
"""Patches of the image that is traced, in steps of what is merged."""


def trace_vision(model: PreTrainedModel) -> ir.Model:
    """Trace the vision tower of a model of text and images; initializers have the names of its parameters.

    Args:
        model: from `skeleton`, off the device `meta`; its type is one of `images.WITH_IMAGES`.
    """
    traced: ir.Model = TOWERS[model.config.model_type](model)
    return traced


class _Tiles(Traced):
    """Llama 4's: `[tiles, channels, height, width]` -> `[image tokens, width of the text part]`."""

    def forward(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        model: Any = self.model
        hidden = model.get_image_features(pixel_values).last_hidden_state
        return [model.multi_modal_projector(hidden.flatten(0, 1))]


def _trace_tiles(model: PreTrainedModel) -> ir.Model:
    vision: Any = model.config.vision_config
    pixels = torch.zeros(IMAGES, vision.num_channels, vision.image_size, vision.image_size)
    return _Tiles(model).to_graph(
        (pixels,), ({0: DYNAMIC},), ["pixel_values"], ["image_features"], {("pixel_values", 0): "tiles"}
    )


class _Patches(Traced):
    """Qwen3-VL's: the patches of one image, and `[1, 3]`: 1, its rows and its columns of patches.

    transformers' processor gives both, of all images one after the other.
    """

    def forward(self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor) -> list[torch.Tensor]:
        # Here, since not every release that exports the other models has it.
        from transformers.vision_utils import _interpolation_axis_taps_weights

        tower: Any = self.model.model.visual
        row, column = _places(pixel_values.shape[0], image_grid_thw, tower.spatial_merge_size)
        taps = [
            _interpolation_axis_taps_weights(
                place,
                image_grid_thw[0, axis],
                tower.num_grid_per_side,
                tower.interpolation_mode,
                tower.interpolation_align_corners,
            )
            for axis, place in ((1, row), (2, column))
        ]
        (rows, row_weights), (columns, column_weights) = taps
        seen = tower(
            pixel_values,
            grid_thw=image_grid_thw,
            position_ids=torch.stack((row, column), dim=-1),
            interp_indices=(rows[:, :, None] * tower.num_grid_per_side + columns[:, None, :]).flatten(1),
            interp_weights=(row_weights[:, :, None] * column_weights[:, None, :]).flatten(1),
            cu_seqlens=_Whole(pixel_values.shape[0]),
        )
        return [seen.pooler_output, torch.stack(seen.deepstack_features)]


class _Whole:
    """The bounds of a sequence that is not cut, as attention layers read them."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __getitem__(self, part: slice) -> _Whole:
        return self

    def __sub__(self, other: _Whole) -> _Whole:
        return self

    def tolist(self) -> list[int]:
        return [self.length]


def _places(count: int, grid: torch.Tensor, merged: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of each patch, in the order of the processor: squares of `merged` x `merged`."""
    number = torch.arange(count)
    square, inside = number // (merged * merged), number % (merged * merged)
    across = grid[0, 2] // merged
    return square // across * merged + inside // merged, square % across * merged + inside % merged


def _trace_patches(model: PreTrainedModel) -> ir.Model:
    vision: Any = model.config.vision_config
    rows, columns = ROWS * vision.spatial_merge_size, COLUMNS * vision.spatial_merge_size
    width = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    return _Patches(model).to_graph(
        (torch.zeros(rows * columns, width), torch.tensor([[1, rows, columns]])),
        ({0: DYNAMIC}, {}),
        ["pixel_values", "image_grid_thw"],
        ["image_features", "deepstack_features"],
        {("pixel_values", 0): "patches"},
    )


TOWERS: MappingProxyType[str, Any] = MappingProxyType(
    {"llama4": _trace_tiles, "qwen3_vl_moe": _trace_patches}
)
"""By model type."""
