"""plan.json: written and read back equal, checked against its published schema."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from models import moe_model, with_static_converters

from hetc.base.errors import InvalidInputError, UsageError
from hetc.compiler.placement import Placement, make_plan
from hetc.hardware.profile import Profile
from hetc.model.load import load_model
from hetc.plan.fractions import DigitalFraction
from hetc.plan.plan import Plan
from hetc.plan.targets import flip_fraction


def make(**placement: Any) -> Plan:
    return make_plan(load_model(moe_model()), Placement(**placement), Profile())


def test_round_trip(tmp_path: Path) -> None:
    plan = make(digital_frac="0.5", analog=("lm_head",))
    for each in (plan, with_static_converters(plan, "std:6", 0.5)):
        each.save(tmp_path / "plan.json")
        assert Plan.load(tmp_path / "plan.json") == each


def test_shares_add_up() -> None:
    plan = make(digital_frac="0.5")
    assert sum(plan.shares.percent()) == pytest.approx(100)
    assert plan.shares.digital == sum(
        unit.parameters for unit in plan.units if unit.counted and unit.target == "digital"
    )


@pytest.mark.parametrize("text", ["-0.1", "1.01", "nan", "inf", "a quarter", ""])
def test_fractions_outside_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        DigitalFraction(text)


@pytest.mark.parametrize(("text", "exact"), [("0.25", "0.25"), (0.1, "0.1"), ("1e-3", "0.001"), (1, "1")])
def test_fractions_are_exact(text: str | float, exact: str) -> None:
    assert str(DigitalFraction(text)) == exact


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["surprise"], 1, "surprise"),
        (["units", 0, "target"], "optical", r"units\[0\]\.target"),
        (["units", 0, "colour"], "red", "colour"),
        (["budget", "requested"], "1.5", r"budget\.requested"),
        (["schema_version"], 2, "schema_version"),
        (["seed"], -1, "seed"),
        (["adc_bound_rule"], "max", "adc_bound_rule"),
    ],
)
def test_edits_that_break_the_schema_are_named(
    tmp_path: Path, path: list[Any], value: Any, message: str
) -> None:
    data = make().to_dict()
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (tmp_path / "plan.json").write_text(json.dumps(data))
    with pytest.raises(InvalidInputError, match=message):
        Plan.load(tmp_path / "plan.json")


def test_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(InvalidInputError, match="not JSON"):
        Plan.load(tmp_path / "plan.json")


def test_flip_fraction_is_where_the_unit_changes_sides() -> None:
    units = make(digital_frac="0").units
    assert {unit.kind for unit in units} > {"expert", "attention"}
    for unit in units:
        flip = flip_fraction(unit)
        if unit.kind != "expert":
            assert flip is None
            continue
        assert flip is not None and unit.rank is not None
        at, below = (DigitalFraction(flip - offset) for offset in (0, Fraction(1, 10**9)))
        assert at.count(unit.group_size) > unit.rank
        assert below.count(unit.group_size) <= unit.rank
