"""Budgets: what a brute-force search keeps, one order for all of them, and pins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import SAMPLE
from command_line import hetc as hetc_command
from hypothesis import given, settings
from hypothesis import strategies as st
from models import moe_model
from olmoe import olmoe_units

import hetc
from hetc.base.errors import UsageError
from hetc.compiler.placement import Placement, make_plan
from hetc.costing.budget import METRICS, fill_budget, parse_budget
from hetc.costing.cost import CostBasis
from hetc.costing.profile import load_costs
from hetc.costing.work import Workload
from hetc.hardware.profile import Profile
from hetc.model.load import load_model
from hetc.passes.analysis.place_units import place_units
from hetc.plan.fractions import DigitalFraction
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.scores import Scores
from hetc.plan.targets import flip_fraction, targets_at
from hetc.plan.units import DENSE

BASIS = CostBasis(load_costs("a100+pcm-3d"), Workload("decode", 32, 100), "digital-only")


def make(budget: str, **placement: Any) -> Plan:
    loaded = load_model(moe_model())
    return make_plan(loaded, Placement(budget=parse_budget(budget), basis=BASIS, **placement), Profile())


def everything(loss: float = 1.0) -> Scores:
    """One score for experts and dense units, as `hetc score` measures it."""
    units = make_plan(load_model(moe_model()), Placement(), Profile()).units
    counted = [unit for unit in units if unit.counted]
    return Scores({"expected-loss": {unit.id: loss * (1 + i % 5) for i, unit in enumerate(counted)}})


def digital(units: tuple[PlannedUnit, ...]) -> set[str]:
    return {unit.id for unit in units if unit.target == "digital"}


NORMS = 12_345
"""Parameters of no unit."""


def olmoe(budget: str, **pins: Any) -> tuple[tuple[PlannedUnit, ...], str, float]:
    """OLMoE-1B-7B, at whose size analog units are the cheaper ones."""
    units = [unit for unit in olmoe_units() if unit.layer in (0, 1, None)]
    scores = {unit.id: float(1 + (unit.expert or 0) % 7) for unit in units if unit.counted}
    experts = {unit.id: scores[unit.id] for unit in units if unit.kind == "expert"}
    analog, _ = place_units(
        units, experts, Profile(), digital_frac=DigitalFraction(0), score="loss", ranking="model", **pins
    )
    parameters = NORMS + sum(unit.parameters for unit in units)
    placed, fraction, spent, _ = fill_budget(analog, scores, "loss", parse_budget(budget), BASIS, parameters)
    return placed, fraction, spent.achieved


@pytest.mark.parametrize(
    ("text", "metric", "bound", "relative"),
    [
        ("parameters:20%", "parameters", 0.2, True),
        ("parameters:2.1B", "parameters", 2.1e9, False),
        ("active-parameters:350M", "active-parameters", 350e6, False),
        ("energy:2.0mJ", "energy", 2e-3, False),
        ("latency:80us", "latency", 80e-6, False),
    ],
)
def test_spellings(text: str, metric: str, bound: float, relative: bool) -> None:
    budget = parse_budget(text)
    assert (budget.metric, budget.relative) == (metric, relative)
    assert budget.bound == pytest.approx(bound)


@pytest.mark.parametrize(
    "text",
    ["energy", "energy:2", "energy:20%", "watts:3W", "latency:2mJ", "parameters:101%", "parameters:-1"],
)
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(UsageError, match="budget"):
        parse_budget(text)


@pytest.mark.parametrize("budget", ["parameters:40%", "active-parameters:60%", "energy:6mJ", "latency:15us"])
def test_spent_is_within_and_one_more_is_not(budget: str) -> None:
    placed, _, achieved = olmoe(budget)
    wanted = parse_budget(budget)
    load = {unit.id: unit.load if wanted.metric == "active-parameters" else 1.0 for unit in placed}

    def value(units: tuple[PlannedUnit, ...]) -> float:
        if METRICS[wanted.metric]:
            cost = BASIS.plan_cost(units)
            return cost.joules_per_token if wanted.metric == "energy" else cost.seconds / cost.tokens
        chosen = digital(units)
        total = NORMS + sum(unit.parameters * load[unit.id] for unit in placed)
        kept = (unit for unit in placed if unit.counted and unit.id in chosen)
        return sum(unit.parameters * load[unit.id] for unit in kept) / total

    if wanted.relative:
        assert value(placed) <= wanted.bound
    else:
        assert value(placed) == pytest.approx(achieved)
        assert achieved <= wanted.bound
    rest = [unit for unit in placed if unit.rule == "budget" and unit.target == "analog"]
    assert rest, "nothing was left to buy"
    ordered = sorted(rest, key=lambda unit: int(unit.reason.split("puts it ")[1].split(" of")[0]))
    more = tuple(replace(u, target="digital") if u.id == ordered[0].id else u for u in placed)
    assert value(more) > wanted.bound


def test_a_share_is_that_of_the_plan() -> None:
    """As the summary prints it: of all parameters, embedding, norms and router included."""
    given = {"score": "expected-loss", "scores": everything()}
    share, _, _ = make("parameters:60%", **given).shares.percent()
    assert 50 < share <= 60
    exactly, less = (make(f"parameters:{share + change:.8f}%", **given) for change in (1e-6, -1e-6))
    assert exactly.shares.percent()[0] == share
    assert less.shares.percent()[0] < share


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 99), st.integers(1, 99))
def test_plans_are_nested(first: int, second: int) -> None:
    small, large = sorted((first, second))
    assert digital(olmoe(f"parameters:{small}%")[0]) <= digital(olmoe(f"parameters:{large}%")[0])


def test_dense_units_compete_where_they_have_a_score() -> None:
    plan = make("parameters:30%", score="expected-loss", scores=everything())
    dense = [unit for unit in plan.units if unit.kind in DENSE]
    assert {unit.rule for unit in dense} == {"budget"}
    assert any(unit.target == "analog" for unit in dense)
    assert all(unit.rank is None and unit.score for unit in dense)
    others = make("parameters:80%")
    assert {unit.rule for unit in others.units if unit.kind in DENSE} == {"densely-activated"}


def test_experts_go_on_along_the_same_order_at_run_time() -> None:
    low = make("parameters:30%", score="expected-loss", scores=everything())
    experts = [unit for unit in low.units if unit.kind == "expert"]
    assert experts
    kept = low.digital_frac.count(len(experts))
    assert {unit.id for unit in experts if unit.target == "digital"} == {
        unit.id for unit in experts if (unit.rank or 0) < kept
    }
    assert targets_at(low, low.digital_frac) == low.units
    high = make("parameters:70%", score="expected-loss", scores=everything())
    walked = {unit.id for unit in targets_at(low, high.digital_frac) if unit.target == "digital"}
    assert walked & {unit.id for unit in experts} == digital(high.units) & {unit.id for unit in experts}
    assert all(flip_fraction(unit) is not None for unit in experts)


def test_pins_hold() -> None:
    pinned = {"digital": ["layers.0.experts.1"], "analog": ["layers.1.experts.0"]}
    for budget in ("parameters:20%", "parameters:100%"):
        plan = make(budget, score="expected-loss", scores=everything(), **pinned)
        first, last = plan.by_id["layers.0.experts.1"], plan.by_id["layers.1.experts.0"]
        assert (first.target, first.rule, first.rank) == ("digital", "pinned", 0)
        assert (last.target, last.rule, last.rank) == ("analog", "pinned", last.group_size - 1)


def test_units_that_are_cheaper_digital_go_first() -> None:
    """A tile of 512 x 512 for a matrix of 32 x 16 costs more than the products."""
    plan = make("energy:1J", score="expected-loss", scores=everything())
    assert all(unit.target == "digital" for unit in plan.units)
    serial = CostBasis(load_costs("a100+pcm-3d"))
    small = next(unit for unit in plan.units if unit.kind == "expert")
    digital, analog = (serial.unit_cost(replace(small, target=to)) for to in ("digital", "analog"))
    assert digital.joules < analog.joules
    with pytest.raises(UsageError, match="less than the least that the plan can have, energy:"):
        make("energy:1pJ", score="expected-loss", scores=everything())


def test_too_small_a_budget_names_the_least() -> None:
    with pytest.raises(
        UsageError, match=r"parameters:1% is less than .*parameters:\d+\.?\d*%; give a larger"
    ):
        make("parameters:1%")  # dense modules are digital without a score


def test_plan_keeps_its_budget(tmp_path: Path) -> None:
    plan = make("energy:1J")
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    budget = plan.to_dict()["budget"]
    assert (budget["metric"], budget["requested"]) == ("energy", "1J")
    assert 0 < budget["achieved"]["value"] <= 1
    assert "a100+pcm-3d, decode, batch 32, context 100, digital-only" in budget["basis"]


def test_compiles_and_refuses_two_answers(tmp_path: Path) -> None:
    bundle = hetc.compile(moe_model(), tmp_path / "bundle", budget="parameters:70%")
    assert bundle.plan.ranking == "model"
    bundle.session()
    with pytest.raises(UsageError, match="one of the two"):
        hetc.compile(moe_model(), tmp_path / "other", budget="parameters:70%", digital_frac=0.5)


def test_command_line(tmp_path: Path) -> None:
    scores = tmp_path / "scores.safetensors"
    units = make_plan(load_model(SAMPLE / "model.onnx"), Placement(), Profile()).units
    Scores({"expected-loss": {unit.id: 1.0 for unit in units if unit.counted}}).save(scores)
    chosen = ("--score", "expected-loss", "--scores", str(scores))
    done = hetc_command(
        "compile", str(SAMPLE / "model.onnx"), "--budget", "parameters:40%", *chosen, "--dry-run"
    )
    assert "budget      parameters" in done.stdout and "of 40%" in done.stdout, done.stderr
    clash = hetc_command(
        "compile", str(SAMPLE / "model.onnx"), "--budget", "parameters:40%", "--ranking", "layer"
    )
    assert clash.returncode == 2 and "--budget ranks over the model" in clash.stderr
