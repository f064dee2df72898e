"""Weights that graph inputs could replace become constants; other inputs stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from models import moe_model

from hetc.passes.analysis.find_units import find_units
from hetc.passes.rewrite.freeze_weights import FreezeWeights


def names(model: ir.Model) -> list[str | None]:
    return [value.name for value in model.graph.inputs]


def test_weights_of_units_are_frozen() -> None:
    model = moe_model()
    initializers = dict(model.graph.initializers)
    model.graph.inputs.extend(initializers.values())
    units = find_units(model)
    assert FreezeWeights(units)(model).modified
    weights = {matrix.weight for unit in units for matrix in unit.matrices}
    assert weights
    assert not weights & set(names(model))
    # Constants of the routing are no unit's, and stay as they were.
    assert set(initializers) - weights >= {"count_0", "count_1"} >= set(names(model)) & {"count_0", "count_1"}
    assert {"input_ids", "count_0", "count_1"} <= set(names(model))
    assert dict(model.graph.initializers) == initializers


def test_a_model_without_such_inputs_is_left_alone() -> None:
    model = moe_model(dtype=np.float16)
    assert not FreezeWeights(find_units(model))(model).modified
    assert names(model) == ["input_ids"]
