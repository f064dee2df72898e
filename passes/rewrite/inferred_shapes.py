"""Shapes and types that a graph lacks, for as long as they are needed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

__all__ = ["inferred_shapes", "lacks_shapes"]


def lacks_shapes(model: ir.Model) -> bool:
    """Whether some node makes a value of no known rank or type, as in graphs of TorchScript's exporter."""
    return any(value.shape is None or value.dtype is None for node in model.graph for value in node.outputs)


@contextmanager
def inferred_shapes(model: ir.Model) -> Iterator[None]:
    """Notes what ONNX infers where nothing was noted, and forgets it afterwards."""
    noted = {value: (value.shape, value.type) for node in model.graph.all_nodes() for value in node.outputs}
    logger = logging.getLogger(ShapeInferencePass.__module__)
    logger.disabled = True  # it would print a traceback where ONNX can't infer shapes
    try:
        ShapeInferencePass(check_type=False, strict_mode=False)(model)
    finally:
        logger.disabled = False
    for value, (shape, kind) in noted.items():
        # What was noted keeps its names of dimensions.
        value.shape, value.type = shape or value.shape, kind or value.type
    try:
        yield
    finally:
        for value, (shape, kind) in noted.items():
            value.shape, value.type = shape, kind
