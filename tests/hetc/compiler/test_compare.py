"""Comparing plans and scores: which units differ, by how much, and what can't be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import SAMPLE, hetc
from hypothesis import given
from hypothesis import strategies as st
from report_data import PLAN

from hetc.base.errors import UsageError
from hetc.compiler.compare import PlanComparison, ScoreComparison, compare, rank_correlation
from hetc.plan.scores import Scores
from hetc.plan.targets import at_fraction


def plans(*fractions: float) -> PlanComparison:
    found = compare(*(at_fraction(PLAN, fraction) for fraction in fractions))
    assert isinstance(found, PlanComparison)
    return found


def test_a_plan_equals_itself() -> None:
    found = plans(0.5, 0.5)
    assert (found.moved, found.rank_correlation) == ((), 1.0)
    assert found.figures[0] == found.figures[1]


def test_units_that_change_sides() -> None:
    found = plans(0.25, 0.75)
    low, high = (at_fraction(PLAN, fraction) for fraction in (0.25, 0.75))
    expected = [unit.id for unit in low.units if unit.target != high.by_id[unit.id].target]
    assert [unit.id for unit in found.moved] == expected and len(expected) == 4
    assert {unit.targets for unit in found.moved} == {("analog", "digital")}
    assert all(unit.ranks[0] == unit.ranks[1] is not None for unit in found.moved)
    less, more = found.figures
    assert less.digital < more.digital and less.analog + less.digital == pytest.approx(
        more.analog + more.digital
    )
    assert less.digital == pytest.approx(low.shares.percent()[0])


def test_scores_that_rank_differently() -> None:
    one = Scores({"loss": {"a": 3.0, "b": 2.0, "c": 1.0}, "mine": {"a": 1.0}})
    two = Scores({"loss": {"a": 1.0, "b": 2.5, "c": 2.0}})
    found = compare(one, two)
    assert isinstance(found, ScoreComparison)
    assert found.only == (("mine",), ())
    assert found.rank_correlation == {"loss": pytest.approx(-0.5)}
    assert (found.changes[0].id, found.changes[0].ranks, found.changes[0].values) == ("a", (0, 2), (3.0, 1.0))


@given(st.permutations(range(7)))
def test_rank_correlation_is_spearmans(order: list[int]) -> None:
    """Without ties, 1 - 6 sum of squared differences / n (n^2 - 1)."""
    differences = [(index - rank) ** 2 for index, rank in enumerate(order)]
    assert rank_correlation(range(7), order) == pytest.approx(1 - sum(differences) / 56)


def test_equal_values_share_their_ranks() -> None:
    assert rank_correlation([1, 2, 2, 3], [1, 3, 2, 4]) == pytest.approx(0.9486833)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == 0.0


def test_what_cannot_be_compared() -> None:
    fewer = replace(PLAN, units=PLAN.units[:-1])
    with pytest.raises(UsageError, match=f"1 units, such as {PLAN.units[-1].id}, are in one alone"):
        compare(PLAN, fewer)
    with pytest.raises(UsageError, match="two of a kind"):
        compare(PLAN, Scores())
    with pytest.raises(UsageError, match="the first has loss, the second none"):
        compare(Scores({"loss": {"a": 1.0}}), Scores())
    with pytest.raises(UsageError, match="of other units"):
        compare(Scores({"loss": {"a": 1.0}}), Scores({"loss": {"b": 1.0}}))


def test_command_on_plans(tmp_path: Path) -> None:
    for fraction in ("0.25", "0.5"):
        at_fraction(PLAN, fraction).save(tmp_path / f"{fraction}.json")
    paths = tmp_path / "0.25.json", tmp_path / "0.5.json"
    done = hetc("compare", *paths)
    assert done.returncode == 0, done.stderr
    assert "2 units not on the same side" in done.stdout and "energy per token" in done.stdout
    shown = json.loads(hetc("compare", *paths, "--json").stdout)
    assert [unit["id"] for unit in shown["moved"]] == [unit.id for unit in plans(0.25, 0.5).moved]
    other = hetc("compare", paths[0], SAMPLE / "model.onnx")
    assert (other.returncode, "different models" in other.stderr) == (2, True)


def test_command_on_scores(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    units = [f"layers.0.experts.{index}" for index in range(60)]
    for name in "ab":
        Scores({"loss": dict(zip(units, random.random(60).tolist(), strict=True))}).save(
            tmp_path / f"{name}.safetensors"
        )
    done = hetc("compare", tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert done.returncode == 0, done.stderr
    assert "score loss: ranks correlate by" in done.stdout and "20 more units" in done.stdout
