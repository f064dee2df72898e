"""The vision tower beside an exported model: a graph in which nothing is placed."""

from __future__ import annotations

import math
from pathlib import Path

import onnx_ir as ir

from hetc.model.load import load_model
from hetc.model.weights import FLOATS
from hetc.plan.finding import Finding

__all__ = ["VISION_FILE", "find_vision", "open_vision"]

VISION_FILE = "vision.onnx"
FEATURES = "image_features"
"""The output of a vision tower, and the input of the text part that it belongs to."""


def open_vision(model: ir.Model, folder: Path) -> ir.Model | None:
    """The vision tower of a text part; None where the part takes no image features, or nothing makes them.

    Args:
        model: The text part.
        folder: Where it lies.

    Raises:
        InvalidInputError: The tower is no usable model.
    """
    if FEATURES not in {value.name for value in model.graph.inputs} or not (folder / VISION_FILE).is_file():
        return None
    return load_model(folder / VISION_FILE).model


def find_vision(model: ir.Model, folder: Path) -> tuple[Finding, ...]:
    """A finding that says where the vision tower of a text part runs; none without one. Raises as above."""
    vision = open_vision(model, folder)
    if vision is None:
        return ()
    weights = (value for value in vision.graph.initializers.values() if value.dtype in FLOATS and value.shape)
    size = sum(math.prod(value.shape.numpy()) for value in weights if value.shape is not None)
    reason = (
        f"the vision tower, {VISION_FILE} ({size:,} parameters), stays digital as it is; the shares are "
        "those of the text part"
    )
    return (Finding("model", "", False, reason),)
