"""`hetc explain` with patterns, several units or none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import hetc
from report_data import PLAN


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explained") / "plan.json"
    PLAN.save(path)
    return path


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((), [unit.id for unit in PLAN.units]),
        (("layers.1.*",), [unit.id for unit in PLAN.units if unit.layer == 1]),
        (("lm_head", "layers.0.experts.[01]"), ["layers.0.experts.0", "layers.0.experts.1", "lm_head"]),
    ],
    ids=["all", "a layer", "two"],
)
def test_a_line_for_each_unit(plan: Path, asked: tuple[str, ...], expected: list[str]) -> None:
    shown = hetc("explain", plan, *asked)
    assert shown.returncode == 0, shown.stderr
    head, *lines = shown.stdout.splitlines()
    assert head.split() == ["unit", "target", "rule", "score", "rank", "digital", "from", "parameters"]
    assert sorted(line.split()[0] for line in lines) == sorted(expected)
    assert all(line.split()[1] == PLAN.by_id[line.split()[0]].target for line in lines)
    found = json.loads(hetc("explain", plan, *asked, "--json").stdout)
    assert [unit["id"] for unit in found["units"]] == [line.split()[0] for line in lines]
    assert all(unit["digital_from"] for unit in found["units"] if unit["kind"] == "expert")


def test_a_pattern_that_matches_nothing(plan: Path) -> None:
    done = hetc("explain", plan, "layers.9.*")
    assert (done.returncode, "'layers.9.*'" in done.stderr) == (2, True)


def test_one_unit_is_explained_in_sentences(plan: Path) -> None:
    unit = PLAN.by_id["layers.0.experts.1"]
    assert hetc("explain", plan, unit.id).stdout.startswith(f"{unit.id} is {unit.target}: {unit.reason}")
