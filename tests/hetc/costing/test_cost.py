"""Costs: arithmetic by hand, what adds up, and Table 2 of arXiv 2603.02633."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import SAMPLE, hetc
from hypothesis import given, settings
from hypothesis import strategies as st
from models import moe_model
from olmoe import olmoe_units
from places import ROOT

from hetc.base.errors import InvalidInputError, UsageError
from hetc.compiler.placement import Placement, make_plan
from hetc.costing.cost import _expected_busiest, plan_cost, recorded_loads, unit_cost
from hetc.costing.profile import built_in_costs, load_costs
from hetc.costing.work import ACCOUNTINGS, Workload, unit_work
from hetc.hardware.profile import Profile
from hetc.model.load import load_model
from hetc.passes.analysis.place_units import place_units
from hetc.plan.calibration import Calibration, Routing
from hetc.plan.fractions import DigitalFraction
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.targets import targets_at
from hetc.plan.units import Matrix

PUBLISHED = {"1": (4220, 10.55), "0.25": (14513, 36.25), "0": (49781, 123.92)}
A100 = load_costs("a100+pcm-3d")


def olmoe(fraction: str) -> tuple[PlannedUnit, ...]:
    units = olmoe_units()
    scores = {unit.id: float(unit.expert or 0) for unit in units if unit.kind == "expert"}
    return place_units(units, scores, Profile(), digital_frac=DigitalFraction(fraction), score="index")[0]


def unit(kind: str = "expert", target: str = "digital", load: float = 0.25, cache: int = 0) -> PlannedUnit:
    """gate and up 600 x 300, down 300 x 600; an attention has q, k, v, o of 600 x 600."""
    if kind == "attention":
        matrices = tuple(Matrix(f"{name}_proj", name, 600, 600, True, 0) for name in "qkvo")
    else:
        shapes = {"gate_proj": (600, 300), "up_proj": (600, 300), "down_proj": (300, 600)}
        matrices = tuple(Matrix(name, name, *shape, True, 0) for name, shape in shapes.items())
    size = sum(matrix.inputs * matrix.outputs for matrix in matrices)
    fields = {"layer": 0, "expert": 0, "rule": "", "reason": "", "score": {}, "rank": 0, "group_size": 4}
    rest = {"counted": True, "tiles": 0, "pinned": False, "nodes": (), "load": load, "cache_width": cache}
    return PlannedUnit(id="u", kind=kind, target=target, parameters=size, matrices=matrices, **fields, **rest)


@pytest.mark.parametrize("fraction", PUBLISHED)
def test_table_2_of_the_paper(fraction: str) -> None:
    """Within 10 % at 100 tokens of context, the one thing that the paper leaves open."""
    cost = plan_cost(olmoe(fraction), A100, Workload("decode", 32, 100), "digital-only")
    speed, efficiency = PUBLISHED[fraction]
    assert cost.tokens_per_second == pytest.approx(speed, rel=0.1)
    assert 1 / cost.joules_per_token == pytest.approx(efficiency, rel=0.1)


@pytest.mark.slow
def test_exported_olmoe_costs_what_its_shape_does(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import paper_costs

    rows = paper_costs.rows(paper_costs.olmoe_plan(), 100)
    assert rows
    for fraction, (speed, efficiency) in rows.items():
        cost = plan_cost(olmoe(fraction), A100, Workload("decode", 32, 100), "digital-only")
        assert (speed, efficiency) == pytest.approx(
            (cost.tokens_per_second, 1 / cost.joules_per_token), rel=1e-3
        )


def test_work_by_hand() -> None:
    workload = Workload("decode", batch=3, context=7)
    digital = unit_work(unit(), A100, workload)
    assert digital.weight_bytes == pytest.approx(540_000 * 2 * (1 - 0.75**3))
    assert digital.operations == pytest.approx(2 * 540_000 * 0.75)
    assert (digital.products, digital.link_bytes, digital.cache_bytes) == (0, 0, 0)

    analog = unit_work(unit(target="analog"), A100, workload)
    assert analog.products == pytest.approx(0.75 * (2 + 2 + 2))
    assert analog.rounds == pytest.approx(0.75 * 2)
    assert analog.link_bytes == pytest.approx(0.75 * (600 + 600) * 2)
    assert (analog.weight_bytes, analog.operations) == (0, 0)

    attention = unit_work(unit("attention", "analog", load=1, cache=40), A100, workload)
    assert attention.cache_bytes == 3 * 8 * 40 * 2
    assert attention.operations == 2 * 3 * 8 * (600 + 600)
    assert attention.products == 3 * 16
    assert attention.link_bytes == 3 * (2 * 600 + 4 * 600) * 2

    prefill = unit_work(unit("attention", load=1, cache=40), A100, Workload("prefill", 3, 7))
    assert prefill.operations == 2 * 4 * 360_000 * 21 + 2 * 3 * 28 * 1200
    assert prefill.cache_bytes == 2 * 21 * 40 * 2


def test_tiles_are_the_systems_own() -> None:
    small = load_costs("hermes64")
    workload = Workload("decode", 1, 0)
    assert unit_work(unit(target="analog"), small, workload, load=1).products == 3 * 2 * 3


@pytest.mark.parametrize("accounting", ACCOUNTINGS)
@pytest.mark.parametrize("system", built_in_costs())
def test_time_and_energy_add_up(system: str, accounting: str) -> None:
    costs = load_costs(system)
    cost = plan_cost(olmoe("0.25"), costs, Workload("decode", 4, 50), accounting)
    parts = cost.parts
    digital = [parts[name] for name in ("weights", "cache", "compute", "waiting")]
    assert sum(part.joules for part in digital) == pytest.approx(costs.digital.power.si * cost.seconds)
    total = sum(part.seconds for name, part in parts.items() if name != "waiting")
    if accounting == "serial":
        assert cost.seconds == pytest.approx(total)
    if accounting == "overlapped":
        assert max(part.seconds for part in parts.values()) <= cost.seconds < total
    if accounting == "digital-only":
        assert parts["waiting"].seconds == parts["transfer"].joules == 0
        assert cost.seconds == pytest.approx(total - parts["analog"].seconds)


def test_units_add_up_to_the_plan() -> None:
    units, workload = olmoe("0.25"), Workload("decode", 32, 100)
    whole = plan_cost(units, A100, workload, "digital-only").joules
    each = sum(unit_cost(one, A100, workload, "digital-only").joules for one in units)
    assert each == pytest.approx(whole)


def test_moving_a_unit_to_analog_saves_energy() -> None:
    digital = unit_cost(unit(), A100, Workload("decode", 1, 0))
    analog = unit_cost(unit(target="analog"), A100, Workload("decode", 1, 0), "digital-only")
    assert 0 < analog.joules < digital.joules


@settings(deadline=None, max_examples=30)
@given(
    loads=st.lists(st.sampled_from([0.0, 0.02, 0.125, 0.4, 0.9, 1.0]), min_size=1, max_size=20),
    tokens=st.integers(1, 300),
)
def test_busiest_expert_is_the_expected_maximum(loads: list[float], tokens: int) -> None:
    draws = np.random.default_rng(0).binomial(tokens, loads, (20_000, len(loads))).max(axis=1)
    error = 5 * draws.std() / np.sqrt(len(draws)) + 1e-9
    assert _expected_busiest(loads, tokens) == pytest.approx(draws.mean(), abs=error + 1e-4)


def test_geometry_comes_from_the_model() -> None:
    plan = small_plan()
    assert {one.load for one in plan.units if one.kind == "expert"} == {0.5}
    sample = make_plan(load_model(SAMPLE / "model.onnx"), Placement(), Profile())
    assert {one.load for one in sample.units if one.kind == "expert"} == {0.25}
    assert {one.cache_width for one in sample.units if one.kind == "attention"} == {2 * 6 * 32}


def small_plan(**placement: object) -> Plan:
    return make_plan(load_model(moe_model()), Placement(**placement), Profile())


def test_another_fraction_is_what_compiling_at_it_gives() -> None:
    pins = {"digital": ("layers.0.experts.1",)}
    moved = targets_at(small_plan(digital_frac="0", **pins), "0.5")
    wanted = small_plan(digital_frac="0.5", **pins).units
    assert [one.target for one in moved] == [one.target for one in wanted]


def test_recorded_loads() -> None:
    plan = small_plan(digital_frac="0.5")
    experts = [one.id for one in plan.units if one.kind == "expert"]
    recording = Calibration(plan.source["sha256"], 512, tokens=10)
    with pytest.raises(InvalidInputError, match="no routing"):
        recorded_loads(plan, recording)
    recording.routing = {name: Routing(tokens=index) for index, name in enumerate(experts)}
    loads = recorded_loads(plan, recording)
    assert list(loads.values()) == [index / 10 for index in range(8)]
    with pytest.raises(InvalidInputError, match="another model"):
        recorded_loads(plan, replace(recording, sha256="other"))

    workload = Workload("decode", 1, 0)
    uniform = plan_cost(plan.units, A100, workload)
    none_digital = {
        one.id: 0.0 if one.target == "digital" else 1.0 for one in plan.units if one.kind == "expert"
    }
    assert (
        plan_cost(plan.units, A100, workload, loads=none_digital).parts["weights"] != uniform.parts["weights"]
    )


def test_bad_questions_are_refused() -> None:
    with pytest.raises(UsageError, match="accounting 'parallel' is not known"):
        plan_cost((), A100, Workload(), "parallel")
    with pytest.raises(UsageError, match="has no tokens"):
        Workload("prefill", 1, 0)


def test_command(tmp_path: Path) -> None:
    model = SAMPLE / "model.onnx"
    plain = hetc("cost", model, "--batch", "2", "--context", "10")
    assert plain.returncode == 0, plain.stderr
    assert all(text in plain.stdout for text in ("tokens/s", "KV cache", "serial: ", "batch 2, context 10"))
    compiled = hetc("compile", model, "-o", tmp_path / "bundle")
    assert compiled.returncode == 0, compiled.stderr
    options = (
        "--batch",
        2,
        "--context",
        10,
        "--digital-frac",
        "0.5",
        "--accounting",
        "digital-only",
        "--json",
    )
    answers = [
        hetc("cost", each, *options) for each in (model, tmp_path / "bundle", tmp_path / "bundle/plan.json")
    ]
    first, *others = [json.loads(answer.stdout) for answer in answers]
    assert all(other == first for other in others)
    assert first["phases"]["decode"]["tokens"] == 2
    assert first["phases"]["prefill"]["tokens"] == 20
    assert first["costs"]["digital"]["power"]["unit"] == "W"


def test_command_names_what_is_wrong(tmp_path: Path) -> None:
    model = SAMPLE / "model.onnx"
    for arguments, code, text in (
        (("--costs", "abacus"), 2, "neither a file nor one of a100+pcm-3d"),
        (("--accounting", "parallel"), 2, "choose one of serial, overlapped, digital-only"),
        (("--digital-frac", "2"), 2, "not a number between 0 and 1"),
        (("--calibration", tmp_path / "none"), 2, "no such file"),
    ):
        result = hetc("cost", model, *arguments)
        assert (result.returncode, text in result.stderr) == (code, True), result.stderr
