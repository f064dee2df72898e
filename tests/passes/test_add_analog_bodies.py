"""One body per operator name: built for what the nodes have, refused where they differ."""

from __future__ import annotations

import pytest
from models import moe_model

from hetc.errors import InvalidInputError
from hetc.model_file import load_model
from hetc.passes.add_analog_bodies import AddAnalogBodies
from hetc.passes.analog_matrices import analog_nodes
from hetc.passes.lower_analog import LowerAnalog
from hetc.pipeline import Placement, make_plan
from hetc.profile import Profile


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
