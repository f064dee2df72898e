"""Raises the MoE layers of a model and compares it with the model before, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from hetc.passes.rewrite.raise_experts import RaiseExperts
from hetc.plan.finding import Finding

__all__ = ["assert_raised", "run"]


def run(model: ir.Model, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """The model's outputs in ONNX Runtime, without hetc's library."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    proto = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[Any]] = session.run(None, dict(feeds))
    return outputs


def assert_raised(
    model: ir.Model, feeds: Mapping[str, NDArray[Any]], *, layers: int = 1, tolerance: float = 1e-5
) -> tuple[Finding, ...]:
    """Raise the model in place; all its layers must be canonical then, and its outputs equal.

    Args:
        model: has `layers` MoE layers of one spelling.
        feeds: inputs to compare with.
        layers: how many layers must be found.
        tolerance: largest difference, relative to the largest output.

    Returns:
        What the pass found.
    """
    before = run(model, feeds)
    outputs = [(value.name, value.dtype, value.shape) for value in model.graph.outputs]
    raising = RaiseExperts()
    assert raising(model).modified
    assert [finding.raised for finding in raising.findings] == [True] * layers, raising.findings
    experts = [node for node in model.graph if node.domain == "hetc"]
    assert len({node.name.rpartition(".experts.")[0] for node in experts if node.name}) == layers
    assert [(value.name, value.dtype, value.shape) for value in model.graph.outputs] == outputs
    onnx.checker.check_model(ir.to_proto(model))
    for old, new in zip(before, run(model, feeds), strict=True):
        assert (old.dtype, old.shape) == (new.dtype, new.shape)
        bound = tolerance * max(1.0, float(np.abs(old).max(initial=0)))
        np.testing.assert_allclose(new.astype(np.float64), old.astype(np.float64), rtol=0, atol=bound)
    return raising.findings
