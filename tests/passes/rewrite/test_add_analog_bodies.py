"""One body per operator name: built for what the nodes have, refused where they differ."""

from __future__ import annotations

import pytest
from models import moe_model

from hetc.base.errors import InvalidInputError
from hetc.compiler.placement import Placement, make_plan
from hetc.hardware.profile import Profile
from hetc.model.load import load_model
from hetc.passes.analysis.analog_matrices import analog_nodes
from hetc.passes.rewrite.add_analog_bodies import AddAnalogBodies
from hetc.passes.rewrite.lower_analog import LowerAnalog


def test_a_digital_model_gets_none() -> None:
    model = moe_model()
    assert not AddAnalogBodies()(model).modified


def test_callees_stand_before_callers() -> None:
    loaded = load_model(moe_model())
    LowerAnalog(make_plan(loaded, Placement(digital_frac=0), Profile()))(loaded.model)
    assert [name for _, name, _ in loaded.model.functions] == ["AnalogMatMul", "AnalogExpert"]


def test_experts_of_two_forms_are_refused() -> None:
    loaded = load_model(moe_model())
    LowerAnalog(make_plan(loaded, Placement(digital_frac=0), Profile()))(loaded.model)
    next(iter(analog_nodes(loaded.model.graph))).replace_input_with(1, None)
    with pytest.raises(InvalidInputError, match="differ in gate"):
        AddAnalogBodies()(loaded.model)
